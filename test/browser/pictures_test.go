package browser_test

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

var update = flag.Bool("update", false, "write docs/pictures")

// pictures is where the pictures of README and docs are, with a text of what they show.
const pictures = "../../docs/pictures"

// TestPicturesOfTheConsoleAreCurrent compares the words and rules of style of the pages that README and docs show with those at the
// time of the pictures. `make pictures` makes them again.
func TestPicturesOfTheConsoleAreCurrent(t *testing.T) {
	t.Parallel()
	f := newFirmAt(t, "Acme Robotics", "acme.example")
	var key struct{ Secret string }
	f.do(http.MethodPost, "/v1/keys", map[string]any{"name": "Grace"}, &key)
	f.receivers.Script("/warehouse", sink.FailFirst(1, sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte("out of order")}))
	f.webhook("/orders", map[string]any{"description": "Order desk", "events": []string{"*"}})
	// The second attempt is so late that every picture is taken before it.
	broken := f.webhook("/warehouse", map[string]any{"description": "Warehouse", "retry": map[string]any{
		"type": "exponential", "initial": "10m", "factor": 2, "max": "4h", "attempts": 8,
	}})
	f.note("Where is my event?")
	event := f.newest()
	f.received("/warehouse", 1)
	for _, subject := range []string{"Order 1815", "Order 1906", "Invoice 42", "Re: Order 1815"} {
		f.note(subject)
	}
	f.received("/warehouse", 5)
	f.received("/orders", 5)
	b := newTab(t, f.sys.API, look{})
	b.signIn(key.Secret)
	var shown strings.Builder
	for _, page := range []struct{ name, path, settled string }{
		{"overview", "/", "Delivered, 1 h 9 "},
		{"event", "/events/" + event, "Attempt 1"},
		{"webhook", "/webhooks/" + broken, "Waiting 1 "},
	} {
		b.open(consolePath + page.path)
		b.sees(page.settled)
		fmt.Fprintf(&shown, "%s\n%s", page.name, b.words())
		fmt.Fprintf(&shown, "  rules of style: %s\n", b.rules())
		for _, l := range []look{{dark: true}, {}} {
			if *update {
				b.wear(l)
				require.NoError(t, os.WriteFile(filepath.Join(pictures, page.name+"-"+l.scheme()+".png"), b.picture(), 0o644))
			}
		}
	}
	list := filepath.Join(pictures, "console.txt")
	if *update {
		require.NoError(t, os.WriteFile(list, []byte(shown.String()), 0o644))
	}
	was, err := os.ReadFile(list)
	require.NoError(t, err)
	require.Equal(t, string(was), shown.String(), "the pictures show an older console: run make pictures, and look at each")
}

// varying is what differs between two pictures of the same page: ids, ports, times, and the window of a lane.
var varying = regexp.MustCompile(`_[0-9a-f]{8,}…?|127\.0\.0\.1:\d+|[0-9a-z]{20,}@|(in )?\d+(\.\d+)? (ms|s|min|h)( ago)?|under 1 ms|^now$|\d+ / \d+`)

// words are the page's visible texts, one a line, sorted and without what varies. The bytes of mails and envelopes are left
// out.
func (b *tab) words() string {
	b.t.Helper()
	texts := eval[[]string](b, `(() => { const all = [], w = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); `+
		`while (w.nextNode()) { const e = w.currentNode.parentElement; if (e.checkVisibility() && !e.closest("pre, svg, .hidden")) all.push(w.currentNode.data.replace(/\s+/g, " ").trim()) } `+
		`return all.filter(t => t) })()`)
	var lines strings.Builder
	for i, text := range texts {
		texts[i] = varying.ReplaceAllString(text, "*")
	}
	slices.Sort(texts)
	for _, text := range slices.Compact(texts) {
		lines.WriteString("  " + text + "\n")
	}
	return lines.String()
}

// rules is a hash of the rules of style that have something to apply to in the page, in either colour scheme and width.
func (b *tab) rules() string {
	b.t.Helper()
	all := eval[string](b, `(() => { const applies = s => { try { return document.querySelector(s.replace(/::?(before|after|first-letter|placeholder|backdrop|hover|focus|focus-visible)\b/g, "") || "*") } catch { return true } }; `+
		`const walk = list => [...list].flatMap(r => r.selectorText ? (r.selectorText.split(",").some(applies) ? [r.cssText] : []) : r.cssRules ? [r.conditionText, ...walk(r.cssRules)] : [r.cssText]); `+
		`return [...document.styleSheets].flatMap(s => walk(s.cssRules)).join("\n") })()`)
	return fmt.Sprintf("%.8x", sha256.Sum256([]byte(all)))
}

// picture is a PNG of what the tab shows.
func (b *tab) picture() []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	return shot
}
