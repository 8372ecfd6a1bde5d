package browser_test

import (
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// canary is a server that must get no request: hostile texts ask it for everything that a browser could load.
type canary struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newCanary(t testing.TB) *canary {
	t.Helper()
	c := &canary{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked = append(c.asked, r.Method+" "+r.URL.String())
		w.Header().Set("Access-Control-Allow-Origin", "*")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *canary) requests() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.asked...)
}

// marker is a text that stands for one place of a stranger's text: pages must show it as it is.
func marker(place string) string { return "<x-hostile " + place + ">" }

// payload is the marker of a place, followed by what would run or load if it were taken for HTML, or for a part of an
// attribute, a script, a style or a template.
func (c *canary) payload(place string) string {
	u := c.URL + "/" + place
	return marker(place) + `'"--></script></style></title></textarea><script>alert(1)</script><img src=` + u + ` onerror=alert(2)>` +
		`<svg onload=alert(3)><p hx-get="` + u + `-hx" hx-trigger=load hx-on::load=alert(7) data-live=` + u + `-live><a href="javascript:alert(4)" autofocus onfocus=alert(5)>{{.}}${alert(6)}</a>`
}

// brief is a payload for a place that takes few bytes.
func (c *canary) brief(place string) string {
	return marker(place) + `"'><img src=` + c.URL + `/` + place + ` onerror=alert(1)>`
}

// html is the body of a mail with each way of HTML to load or run something.
func (c *canary) html() string {
	u := func(name string) string { return c.URL + "/html/" + name }
	return `<!doctype html><html><head><base href="` + u("base/") + `"><meta http-equiv="refresh" content="0;url=` + u("refresh") + `">
<link rel="stylesheet" href="` + u("stylesheet") + `"><link rel="preload" as="image" href="` + u("preload") + `"><link rel="prefetch" href="` + u("prefetch") + `">
<link rel="icon" href="` + u("icon") + `"><link rel="manifest" href="` + u("manifest") + `"><link rel="modulepreload" href="` + u("modulepreload") + `">
<style>@import url(` + u("import") + `); @font-face { font-family: f; src: url(` + u("font") + `) } body { font-family: f; background: url(` + u("background") + `) }
li { list-style-image: url(` + u("list") + `) } p { cursor: url(` + u("cursor") + `), auto; content: url(` + u("content") + `) }</style>
<script>alert("script"); parent.document.title = "taken over"; top.location = "` + u("top") + `"</script><script src="` + u("script") + `"></script>
<script type="module">import "` + u("module") + `"</script></head>
<body onload="alert('onload')" background="` + u("body") + `"><p>The HTML of the mail.</p><ul><li>One</li></ul>
<img src="` + u("image") + `" srcset="` + u("srcset") + ` 2x" onerror="alert('onerror')"><img src="cid:part@example.net"><img src="relative.png">
<picture><source srcset="` + u("source") + `"><img src="` + u("picture") + `"></picture><input type="image" src="` + u("input") + `">
<video src="` + u("video") + `" poster="` + u("poster") + `" autoplay></video><audio src="` + u("audio") + `" autoplay></audio>
<iframe src="` + u("iframe") + `"></iframe><iframe srcdoc="<script>alert('srcdoc')</script><img src='` + u("srcdoc") + `'>"></iframe>
<object data="` + u("object") + `"></object><embed src="` + u("embed") + `"><svg><image href="` + u("svg") + `"/><script>alert("svg")</script><use href="` + u("use") + `#a"/></svg>
<form id="f" action="` + u("form") + `" method="post"><input name="key" autofocus onfocus="alert('focus')"><button>Continue</button></form><script>document.forms[0].submit()</script>
<a href="` + u("link") + `" ping="` + u("ping") + `" target="_top">A link.</a><a href="javascript:alert('link')">Another.</a>
<table background="` + u("table") + `"><tr><td style="background-image: url(` + u("cell") + `)">Cell</td></tr></table><math><mtext><img src="` + u("math") + `"></mtext></math>
<template><img src="` + u("template") + `"></template><noscript><img src="` + u("noscript") + `"></noscript><portal src="` + u("portal") + `"></portal>
</body></html>`
}

// word encodes a text for a header.
func word(s string) string {
	return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", s), "?= =?", "?=\n =?")
}

// quoted is a name in an address, as RFC 5322 quotes it.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// mail is a mail whose every part is hostile.
func (c *canary) mail(agent string) string {
	html := base64.StdEncoding.EncodeToString([]byte(c.html()))
	var lines strings.Builder
	for len(html) > 76 {
		lines.WriteString(html[:76] + "\n")
		html = html[76:]
	}
	lines.WriteString(html)
	attachment := func(name, kind, id string) string {
		return "--outer\nContent-Type: " + kind + "; name*=utf-8''" + url.PathEscape(name) + "\nContent-Disposition: attachment; filename*=utf-8''" +
			url.PathEscape(name) + "\nContent-ID: <" + id + ">\nContent-Description: " + word(c.payload("content-description")) + "\n\n<script>alert('attachment')</script>\n"
	}
	return "From: " + quoted(c.payload("sender")) + " <\"<script>alert(1)</script>\"@example.net>\n" +
		"To: " + quoted(c.payload("recipient")) + " <" + agent + ">\n" +
		"Cc: " + quoted(c.payload("cc")) + " <cc@example.net>\n" +
		"Reply-To: " + quoted(c.payload("reply-to")) + " <reply@example.net>\n" +
		"Subject: " + word(c.payload("subject")) + "\n" +
		"Message-ID: <\"><script>alert(1)</script>.message-id@example.net>\n" +
		"References: <\"><img/src=x/onerror=alert(1)>@example.net>\n" +
		"X-Hostile: " + word(c.payload("header")) + "\n" +
		"List-Unsubscribe: <javascript:alert(1)>, <" + c.URL + "/unsubscribe>\n" +
		"Date: Mon, 02 Nov 2026 10:00:00 +0000\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=outer\n\n" +
		"--outer\nContent-Type: multipart/alternative; boundary=inner\n\n" +
		"--inner\nContent-Type: text/plain; charset=utf-8\n\n" + c.payload("text") + "\n\n" +
		"--inner\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + lines.String() + "\n\n--inner--\n" +
		attachment(c.payload("file-name")+".html", "text/html", "part@example.net") +
		attachment(c.brief("svg-name")+".svg", "image/svg+xml", "\"><script>alert(1)</script>@example.net") +
		"--outer--\n"
}

// answer is a webhook's answer with hostile headers and body.
func (c *canary) answer(status int, place string) sink.Answer {
	return sink.Answer{
		Status: status,
		Header: http.Header{
			"Content-Type": {"text/html"}, "X-Hostile": {c.brief(place + "-header")},
			"Refresh": {"0; url=" + c.URL + "/answer-refresh"}, "Link": {"<" + c.URL + "/answer-link>; rel=preload; as=image"},
			"Content-Security-Policy": {"default-src *"},
		},
		Body: []byte(c.payload(place)),
	}
}

// TestAHostileWayInIsRefused opens the sign-in with addresses that lead elsewhere.
func TestAHostileWayInIsRefused(t *testing.T) {
	t.Parallel()
	c := newCanary(t)
	f := newFirm(t, "Acme")
	for _, next := range []string{
		c.URL + "/next", "//" + strings.TrimPrefix(c.URL, "http://") + "/next", `/\` + strings.TrimPrefix(c.URL, "http://"), "javascript:alert(1)",
		"/console/../" + c.URL, "\t//" + strings.TrimPrefix(c.URL, "http://"), c.payload("next"), "/console//" + strings.TrimPrefix(c.URL, "http://"),
	} {
		t.Run(fmt.Sprintf("%.30q", next), func(t *testing.T) {
			t.Parallel()
			b := newTab(t, f.sys.API, look{})
			b.open(consolePath + "/sign-in?next=" + url.QueryEscape(next))
			b.rec.allow("Failed to load resource") // the path may lead to no page
			b.fill("API key", f.Key)
			b.press("Sign in")
			b.until("a page behind the sign-in", `location.pathname !== "/console/sign-in" && document.readyState === "complete"`)
			require.Equal(t, f.sys.API, eval[string](b, "location.origin"))
			require.Empty(t, c.requests())
		})
	}
}
