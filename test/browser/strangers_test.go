package browser_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// hostileWorld is a firm in which all that a stranger, a customer or a colleague can write is hostile.
type hostileWorld struct {
	*firm
	canary *canary
	// marks are the places whose text some page must show.
	marks           []string
	webhook, broken string // ids
	event           string
}

func newHostileWorld(t testing.TB) *hostileWorld {
	t.Helper()
	c := newCanary(t)
	f := newFirm(t, c.brief("tenant"))
	w := &hostileWorld{firm: f, canary: c}
	f.receivers.Script("/good", sink.Always(c.answer(http.StatusOK, "answer")))
	f.receivers.Script("/bad", sink.Always(c.answer(http.StatusInternalServerError, "refusal")))
	f.do(http.MethodPost, "/v1/keys", map[string]any{"name": c.brief("key")}, nil)
	hostile := map[string]any{
		"description": c.brief("description"),
		"headers":     map[string]string{"X-Hostile": c.brief("header-value")},
		"events":      []string{"*"},
	}
	w.webhook = f.webhook("/good", hostile)
	w.broken = f.webhook("/bad", map[string]any{"description": c.brief("description-2"), "events": []string{"*"}})
	f.webhook("/path/"+url.PathEscape(c.brief("url"))+"?q="+url.QueryEscape(c.brief("url-query")), map[string]any{"description": "odd URL"})
	f.mail(c.mail(f.agent))
	f.received("/good", 1)
	f.received("/bad", 1)
	w.event = f.newest()
	f.do(http.MethodPost, "/v1/events", map[string]any{
		"type": "email.sent", "agent_id": f.agent, "conversation_id": c.brief("conversation"), "labels": []string{c.brief("label")},
		"message_id": c.brief("message"), "idempotency_key": c.brief("idempotency"),
		"data": map[string]any{c.brief("data-name"): c.payload("data-value")},
	}, nil)
	f.received("/good", 2)
	require.Eventually(t, func() bool { // the outcomes are recorded
		var d struct{ Data []struct{ Attempts int } }
		f.get("/v1/webhooks/"+w.broken+"/deliveries", nil, &d)
		return len(d.Data) == 2 && d.Data[0].Attempts > 0 && d.Data[1].Attempts > 0
	}, patience, 20*time.Millisecond)
	f.do(http.MethodPost, "/v1/replays", map[string]any{
		"since": "2020-01-01T00:00:00Z", "webhook_id": w.webhook, "mode": "all", "types": []string{"email.received"}, "agent_ids": []string{f.agent},
	}, nil)
	w.marks = []string{
		"key", "description", "description-2", "subject", "sender", "recipient", "cc", "reply-to", "header", "text", "file-name", "label", "data-value", "refusal",
	}
	return w
}

// inspect fails the test if the page took a hostile text for more than text, and collects the markers that it shows.
func (w *hostileWorld) inspect(b *tab, path string, shown map[string]bool) {
	w.t.Helper()
	found := eval[[]string](b, `[...document.querySelectorAll("x-hostile, main script, main style, main img:not([src^='/console/']), main object, main embed, main meta, main link, main base, `+
		`[onerror], [onload], [onfocus], [srcdoc], [hx-get]:not([hx-get^='/console/']), [hx-on\\:\\:load], [data-live]:not([data-live^='/console/'])")].map(e => e.outerHTML.slice(0, 200))`)
	require.Empty(w.t, found, "%s made elements of a hostile text", path)
	links := eval[[]string](b, `[...document.querySelectorAll("[href], [src], [action], [formaction], [data], [poster], [ping]")]`+
		`.flatMap(e => ["href", "src", "action", "formaction", "data", "poster", "ping"].map(n => e.getAttribute(n)).filter(v => v && (/^\s*[a-z][a-z0-9+.-]*:/i.test(v) || v.startsWith("//"))))`+
		`.filter(v => new URL(v, location.href).origin !== location.origin)`)
	require.Empty(w.t, links, "%s links to what a stranger chose", path)
	for _, f := range eval[[]string](b, `[...document.querySelectorAll("iframe")].map(e => e.outerHTML)`) {
		require.Contains(w.t, f, " sandbox", "%s frames a mail", path)
		require.NotContains(w.t, f, "allow-", "%s frames a mail", path)
	}
	// A mail's HTML has finished to do what it can when the frame is loaded.
	b.until("all frames", `[...document.querySelectorAll("iframe")].every(f => f.loading === "lazy" || performance.getEntriesByName(f.src).length > 0)`)
	text := eval[string](b, `document.body.textContent + [...document.querySelectorAll("input, textarea, option")].map(e => e.value).join(" ")`)
	for _, m := range w.marks {
		escaped := strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(marker(m)) // in the JSON of an envelope
		shown[m] = shown[m] || strings.Contains(text, marker(m)) || strings.Contains(text, escaped)
	}
	require.Empty(w.t, w.canary.requests(), "%s or a page before it loaded something", path)
}

// TestStrangersTextsRunNothing walks all pages of a tenant whose every text is hostile, as the tenant and as an operator.
func TestStrangersTextsRunNothing(t *testing.T) {
	t.Parallel()
	w := newHostileWorld(t)
	b := newTab(t, w.sys.API, look{})
	// The frame of the mail says what it refused: these are the sandbox and the policy at work.
	b.rec.allow("Blocked script execution in")
	b.rec.allow("Content-Security-Policy")
	b.rec.allow("Content Security Policy")
	b.signIn(w.Key)
	shown := map[string]bool{}
	pages := b.crawl(4, func(path string) { w.inspect(b, path, shown) }, consolePath+"/")
	t.Logf("pages: %v; shown: %v", pages, shown)
	for _, m := range w.marks {
		require.True(t, shown[m], "no page shows the hostile %s, so nothing is proven of it", m)
	}
	// What is refused is shown again beside its field.
	for _, at := range []string{"/events?type=", "/events?agent_id=", "/search?q=", "/events?cursor=", "/deliveries?status=", "/events/", "/agents/", "/nowhere/", "/?flash="} {
		path := consolePath + at + url.PathEscape(w.canary.payload("query"))
		if strings.Contains(at, "?") {
			path = consolePath + at + url.QueryEscape(w.canary.payload("query"))
		}
		b.rec.allow("Failed to load resource") // a 404 and a 422 are answers
		b.open(path)
		w.inspect(b, path, shown)
	}
}

// TestStrangersTextsRunNothingForOperators walks the operators' pages while a hostile tenant is there.
func TestStrangersTextsRunNothingForOperators(t *testing.T) {
	t.Parallel()
	w := newHostileWorld(t)
	w.marks = []string{"tenant"}
	b := newTab(t, w.sys.API, look{})
	b.signIn(w.sys.OperatorKey)
	shown := map[string]bool{}
	pages := b.crawl(4, func(path string) { w.inspect(b, path, shown) }, consolePath+"/operator", consolePath+"/operator/tenants", consolePath+"/operator/tenants/"+w.id)
	t.Logf("pages: %v", pages)
	require.True(t, shown["tenant"], "no page shows the tenant's name")
}

// TestStrangersTextsRunNothingInPortals walks the pages of a portal link whose webhooks and deliveries are hostile.
func TestStrangersTextsRunNothingInPortals(t *testing.T) {
	t.Parallel()
	w := newHostileWorld(t)
	w.marks = []string{"description", "description-2", "subject", "refusal", "data-value"}
	link := w.portal("https://app.example.com", map[string]any{"accent": "#0a5bd3", "language": "de"}, w.webhook, w.broken)
	b := newTab(t, w.sys.API, look{})
	shown := map[string]bool{}
	pages := b.crawl(4, func(path string) { w.inspect(b, path, shown) }, w.pathOf(link))
	t.Logf("pages: %v; shown: %v", pages, shown)
	for _, m := range w.marks {
		require.True(t, shown[m], "no page shows the hostile %s, so nothing is proven of it", m)
	}
	// A theme is text of a customer in a style sheet: only colours and an image may be there.
	for _, theme := range []map[string]any{
		{"accent": "#fff;} body{background:url(" + w.canary.URL + "/theme)}"},
		{"background": "url(" + w.canary.URL + "/theme)"},
		{"logo": w.canary.URL + "/logo.png"},
		{"logo": "data:image/svg+xml;base64,PHN2Zy8+"},
		{"language": w.canary.brief("language")},
	} {
		err := w.Do(t.Context(), http.MethodPost, "/v1/portal-links", nil, map[string]any{"webhook_ids": []string{w.webhook}, "theme": theme}, nil)
		require.ErrorContains(t, err, "422", "theme %v", theme)
	}
	require.Empty(t, w.canary.requests())
}
