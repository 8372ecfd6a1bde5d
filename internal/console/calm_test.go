package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

func TestTheFrameOfAMailAsksForNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	for _, text := range []string{
		`<p style="color:red" title="t">kept</p><img src="https://t.example/x.png" alt="a picture" onerror="alert(1)">`,
		`kept<script>alert("</p>")</script><script src=//t.example/x.js></script>`, `kept<svg><image href="//t.example/x"/><script>1</script></svg>`,
		`<table background="//t.example/x"><tr><td>kept</table><body background=//t.example/x>`, `<link rel=dns-prefetch href=//t.example><link rel=stylesheet href=//t.example/x.css>kept`,
		`<meta http-equiv=refresh content="0;url=//t.example">kept<base href=//t.example>`, `<style>@import "//t.example/x.css";</style><style>p{background:\75rl(//t.example)}</style><p>kept`,
		`<p style="background:URL(//t.example/x)">kept</p>`, `<iframe src=//t.example srcdoc="<script>1</script>"></iframe>kept`, `<video poster=//t.example><source src=//t.example></video>kept`,
		`<object data=//t.example><embed src=//t.example></object>kept<embed src=//t.example>`, `<form action=//t.example><button formaction=//t.example>kept</button></form>`,
		`<a href="https://t.example/" ping=//t.example>kept</a>`, `<!--[if mso]><img src=//t.example><![endif]-->kept`, `<input type=image src=//t.example>kept`, `<noscript><img src=//t.example></noscript>kept`,
		`<iframe><iframe></iframe></iframe>kept`, `kept<script`, `<template><img src=//t.example></template>kept`, "kept\x00<im\x00g src=//t.example>",
	} {
		event, _ := w.mail(map[string]any{"subject": "x", "html": text}, "x")
		d := b.get("/events/" + event + "/html").want(http.StatusOK)
		require.Contains(t, words(d.root), "kept", text)
		require.NotContains(t, words(d.root), "alert", "a script is no text")
		for n := range d.root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			require.NotContains(t, []string{"script", "link", "meta", "base", "iframe", "object", "embed", "video", "source", "svg"}, n.Data, text)
			for _, a := range n.Attr {
				require.True(t, a.Key == "title" || !strings.Contains(a.Val, "t.example"), "%s: %s=%q", text, a.Key, a.Val)
				require.False(t, strings.HasPrefix(a.Key, "on"), text)
			}
			if n.Data == "style" {
				require.NotContains(t, words(n), "t.example")
			}
		}
	}
	event, _ := w.mail(map[string]any{"subject": "x", "html": `<style>p { color: red }</style><p style="color: red">kept &lt;b&gt;</p><a href="https://x.example/">link</a>`}, "x")
	require.Equal(t, `<style>p { color: red }</style><p style="color: red">kept &lt;b&gt;</p><a title="https://x.example/">link</a>`, b.get("/events/"+event+"/html").text)
}
