package browser_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// identifier is a part of a path that names one thing of many.
var identifier = regexp.MustCompile(`/([a-z]+_[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27}|[^/]*(%40|@)[^/]*|[a-z]+\.[a-z_]+|[0-9]+)(/|$)`)

// shape is the path of a page without what it names, so that pages of one kind have one shape.
func shape(path string) string {
	for {
		next := identifier.ReplaceAllString(path, "/*$3")
		if next == path {
			return path
		}
		path = next
	}
}

// crawl opens every page that links lead to from the given ones, at most each of a shape as often as given, and calls
// look on each. It returns the shapes that it saw.
func (b *tab) crawl(each int, look func(path string), from ...string) map[string]int {
	b.t.Helper()
	seen, shapes := map[string]bool{}, map[string]int{}
	queue := from
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		u, err := url.Parse(path)
		if err != nil || seen[path] {
			continue
		}
		seen[path] = true
		kind := shape(u.EscapedPath())
		if shapes[kind] >= each {
			continue
		}
		b.open(path)
		eval[bool](b, `document.querySelectorAll("details").forEach(d => { d.open = true }), true`) // what they hold is read too
		shapes[kind]++
		look(path)
		queue = append(queue, b.links()...)
	}
	return shapes
}

// links are the paths, with their queries, of the page's links to pages of the console.
func (b *tab) links() []string {
	b.t.Helper()
	all := eval[[]string](b, `[...document.querySelectorAll("a[href]")].filter(a => a.origin === location.origin && !a.hasAttribute("download") && !a.target)`+
		`.map(a => a.pathname + a.search)`)
	var pages []string
	for _, p := range all {
		if strings.HasPrefix(p, consolePath) && !strings.HasSuffix(p, "/sign-out") && !download.MatchString(p) {
			pages = append(pages, p)
		}
	}
	return pages
}

// download matches the paths of answers that are no pages.
var download = regexp.MustCompile(`/(raw|body|attachments/[0-9]+|html)(\?|$)`)

func TestShapesOfPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/console/events": "/console/events",
		"/console/events/evt_f3709add6b14dacedec29dc0141a714a":           "/console/events/*",
		"/console/agents/robot%40a.example/x":                            "/console/agents/*/x",
		"/console/event-types/email.pending_approval":                    "/console/event-types/*",
		"/console/operator/tenants/ten_f3709add6b14dacedec29dc0141a714a": "/console/operator/tenants/*",
		"/console/webhooks/wh_f3709add6b14dacedec29dc0141a714a/edit":     "/console/webhooks/*/edit",
	} {
		if got := shape(path); got != want {
			t.Errorf("shape(%q) = %q, want %q", path, got, want)
		}
	}
}
