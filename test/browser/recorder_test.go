package browser_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
)

// recorder collects what no page of the console may do.
type recorder struct {
	mu      sync.Mutex
	seen    []string
	allowed []string
	origins map[string]bool
}

// allow takes faults whose text contains part for expected, those already seen too.
func (r *recorder) allow(part string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allowed = append(r.allowed, part)
}

// allowOrigin lets pages ask one more origin.
func (r *recorder) allowOrigin(origin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.origins[origin] = true
}

// faults returns what was seen and not allowed.
func (r *recorder) faults() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []string
	for _, f := range r.seen {
		if !r.isAllowed(f) {
			left = append(left, f)
		}
	}
	return left
}

// all returns what was seen, allowed or not.
func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.seen...)
}

func (r *recorder) isAllowed(fault string) bool {
	for _, a := range r.allowed {
		if strings.Contains(fault, a) {
			return true
		}
	}
	return false
}

func (r *recorder) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprintf(format, args...))
}

// see takes an event of the browser.
func (r *recorder) see(ev any) {
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		r.add("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			args, _ := json.Marshal(e.Args)
			r.add("console %s: %s", e.Type, args)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			where := ""
			if e.Entry.URL != "" {
				where = e.Entry.URL
			}
			r.add("log %s (%s): %s %s", e.Entry.Level, e.Entry.Source, e.Entry.Text, where)
		}
	case *audits.EventIssueAdded:
		if e.Issue.Code == "ContentSecurityPolicyIssue" {
			details, _ := json.Marshal(e.Issue.Details)
			r.add("Content-Security-Policy: %s", details)
		}
	case *page.EventJavascriptDialogOpening:
		r.add("dialog: %s", e.Message)
	case *network.EventRequestWillBeSent:
		r.request(e.Request.URL)
	case *network.EventWebSocketCreated:
		r.request(e.URL)
	}
}

// request records a request that leaves for an origin that is not allowed. A data: or blob: URL leaves for none.
func (r *recorder) request(raw string) {
	u, err := url.Parse(raw)
	if err != nil {
		r.add("request to an unreadable URL: %s", raw)
		return
	}
	switch u.Scheme {
	case "data", "blob", "about":
		return
	}
	r.mu.Lock()
	known := r.origins[u.Scheme+"://"+u.Host]
	r.mu.Unlock()
	if !known {
		r.add("request to another origin: %s", raw)
	}
}
