//go:build site

package site_test

import (
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// base is the path at which the site is served.
var base = func() string {
	if b := os.Getenv("DOCS_BASE"); b != "" {
		return b
	}
	return "/"
}()

const built = "../../bin/docs"

// page is what the tests need to know of one.
type page struct {
	ids    map[string]bool
	links  []string // of the whole page
	inside []string // links of its content, without menus
	loads  []string // what the browser fetches for it
	policy string   // the Content-Security-Policy
	text   string
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// pages are those of the built site, by their path in it.
func pages(t *testing.T) map[string]*page {
	t.Helper()
	found := map[string]*page{}
	site := os.DirFS(built)
	require.NoError(t, fs.WalkDir(site, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".html" || name == "404.html" {
			return err
		}
		f, err := site.Open(name)
		require.NoError(t, err)
		doc, err := html.Parse(f)
		require.NoError(t, err)
		found[name] = read(doc)
		return f.Close()
	}))
	require.Greater(t, len(found), 70, "run `make docs`")
	return found
}

func read(doc *html.Node) *page {
	p := &page{ids: map[string]bool{}}
	var visit func(n *html.Node, content bool)
	visit = func(n *html.Node, content bool) {
		switch n.Type {
		case html.TextNode:
			p.text += n.Data
		case html.ElementNode:
			content = content || slices.Contains(strings.Fields(attr(n, "class")), "vp-doc")
			p.element(n, content)
		}
		for c := range n.ChildNodes() {
			visit(c, content)
		}
	}
	visit(doc, false)
	return p
}

func (p *page) element(n *html.Node, content bool) {
	if id := attr(n, "id"); id != "" {
		p.ids[id] = true
	}
	if href := attr(n, "href"); n.Data == "a" && href != "" {
		p.links = append(p.links, href)
		if content {
			p.inside = append(p.inside, href)
		}
	} else if href != "" {
		p.loads = append(p.loads, href)
	}
	if src := attr(n, "src"); src != "" {
		p.loads = append(p.loads, src)
	}
	if set := attr(n, "srcset"); set != "" {
		p.loads = append(p.loads, strings.Fields(set)[0])
	}
	if n.Data == "meta" && attr(n, "http-equiv") == "Content-Security-Policy" {
		p.policy = attr(n, "content")
	}
}

// target is the file and the anchor that a link of a page leads to; foreign is true if it leaves the site.
func target(t *testing.T, from, link string) (file, anchor string, foreign bool) {
	t.Helper()
	u, err := url.Parse(link)
	require.NoError(t, err, "%s links to %q", from, link)
	if u.Scheme != "" || u.Host != "" {
		return "", "", true
	}
	at := (&url.URL{Path: base + from}).ResolveReference(u)
	require.True(t, strings.HasPrefix(at.Path, base), "%s links to %s, outside of the site", from, link)
	file = strings.TrimPrefix(at.Path, base)
	if file == "" || strings.HasSuffix(file, "/") {
		file += "index.html"
	} else if path.Ext(file) == "" {
		file += ".html"
	}
	return file, u.Fragment, false
}

func TestEachLinkOfTheSiteLeadsToAPlace(t *testing.T) {
	all := pages(t)
	followed := 0
	for name, p := range all {
		for _, link := range append(p.links, p.loads...) {
			file, anchor, foreign := target(t, name, link)
			if foreign {
				continue
			}
			followed++
			_, err := os.Stat(filepath.Join(built, file))
			require.NoError(t, err, "%s links to %s", name, link)
			if anchor != "" && anchor != "VPContent" {
				require.NotNil(t, all[file], "%s links to %s", name, link)
				require.True(t, all[file].ids[anchor], "%s links to %s: there is no such anchor", name, link)
			}
		}
	}
	require.Greater(t, followed, 1000)
}

// TestAReadersBrowserAsksNobodyElse: no page loads anything from elsewhere, and each tells the browser to refuse it.
func TestAReadersBrowserAsksNobodyElse(t *testing.T) {
	for name, p := range pages(t) {
		require.NotEmpty(t, p.loads, name)
		for _, load := range p.loads {
			_, _, foreign := target(t, name, load)
			require.False(t, foreign && !strings.HasPrefix(load, "data:"), "%s loads %s", name, load)
		}
		require.Regexp(t, `^default-src 'self';`, p.policy, "%s has no policy", name)
		require.NotContains(t, p.policy, "://", name)
		require.NotContains(t, p.policy, "*", name)
	}
	styles := 0
	require.NoError(t, fs.WalkDir(os.DirFS(built), ".", func(name string, _ fs.DirEntry, err error) error {
		if err == nil && path.Ext(name) == ".css" {
			b, err := os.ReadFile(filepath.Join(built, name))
			require.NoError(t, err)
			require.NotRegexp(t, `(?:url\(\s*["']?|@import\s+["'])(?:https?:)?//`, string(b), name)
			styles++
		}
		return err
	}))
	require.Positive(t, styles)
}

// TestQuestionsOfNewcomersAreAnsweredWithinTwoClicks from the start page, by links in the text of pages.
func TestQuestionsOfNewcomersAreAnsweredWithinTwoClicks(t *testing.T) {
	all := pages(t)
	clicks := map[string]int{"index.html": 0}
	for _, distance := range []int{1, 2} {
		for name, at := range clicks {
			if at != distance-1 {
				continue
			}
			for _, link := range all[name].inside {
				if file, _, foreign := target(t, name, link); !foreign && all[file] != nil {
					if _, seen := clicks[file]; !seen {
						clicks[file] = distance
					}
				}
			}
		}
	}
	for question, answer := range map[string]struct{ file, says string }{
		"what is it":                   {"index.html", "turns each mail into an event"},
		"what does it promise":         {"explanation/design.html", "At least once, seldom twice"},
		"how do I start it":            {"tutorials/quickstart.html", "fanmail up"},
		"how do I receive webhooks":    {"how-to/receive-webhooks.html", "Verify one of the two signatures"},
		"where is my event":            {"how-to/find-an-event.html", "fanmail events find"},
		"why did a webhook not get it": {"how-to/find-an-event.html", "it does not ask for the type"},
		"how do I run it":              {"how-to/deploy-on-kubernetes.html", "Helm chart"},
		"what does an event hold":      {"reference/catalogue.html", "Where is my order?"},
		"what does each request hold":  {"reference/api/webhooks.html", "POST /v1/webhooks"},
	} {
		require.Contains(t, clicks, answer.file, "%s? %s is more than two clicks away", question, answer.file)
		require.Contains(t, all[answer.file].text, answer.says, "%s?", question)
	}
}

// TestEachPageAndOperationIsOnTheSite in the sidebar of every page, operations with their anchors.
func TestEachPageAndOperationIsOnTheSite(t *testing.T) {
	all := pages(t)
	list, err := os.ReadFile("../../docs/README.md")
	require.NoError(t, err)
	sections := regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(string(list), -1)
	require.Len(t, sections, 4, "the four kinds of pages")
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\.md\)`).FindAllStringSubmatch(string(list), -1) {
		require.Contains(t, all, m[1]+".html")
		require.Contains(t, all["tutorials/quickstart.html"].links, base+m[1]+".html", "the sidebar lacks %s", m[1])
	}
	b, err := os.ReadFile("../../internal/api/openapi.json")
	require.NoError(t, err)
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string   `json:"operationId"`
			Tags        []string `json:"tags"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(b, &document))
	for _, item := range document.Paths {
		for _, op := range item {
			p := all["reference/api/"+op.Tags[0]+".html"]
			require.NotNil(t, p, op.OperationID)
			require.True(t, p.ids[op.OperationID], "no section %s", op.OperationID)
		}
	}
}
