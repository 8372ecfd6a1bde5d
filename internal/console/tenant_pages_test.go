package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAWebhookIsMadeChangedPausedAndDeletedOnItsPages(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/webhooks").want(http.StatusOK)
	b.get("/webhooks/new").want(http.StatusOK)

	// What is refused stands beside its field, and the typed text stays. Secrets do not.
	const hostile = `https://x.example/"><script>alert(1)</script>`
	form := url.Values{"url": {"ftp://x"}, "description": {hostile}, "events": {"email.received"}, "max_in_flight": {"many"}, "auth": {"basic"}, "username": {"me"}, "password": {"hunter2-secret"}}
	refused := b.post("/webhooks/new", form).want(http.StatusUnprocessableEntity)
	require.Contains(t, refused.text, "body.max_in_flight")
	require.Equal(t, hostile, attribute(refused.find("input[name=description]"), "value"))
	require.NotContains(t, refused.text, "<script>alert")
	require.NotContains(t, refused.text, "hunter2-secret")

	form.Set("max_in_flight", "7")
	form.Set("url", "https://hooks.example.com/in")
	made := b.post("/webhooks/new", form).want(http.StatusOK)
	secret := words(made.find("code[id=secret]"))
	require.True(t, strings.HasPrefix(secret, "whsec_"), secret)

	list := b.get("/webhooks").want(http.StatusOK)
	require.NotContains(t, list.text, secret)
	require.Contains(t, list.text, "https://hooks.example.com/in")
	at := ""
	for _, row := range list.all("tr") {
		if id := attribute(row, "data-key"); id != "" {
			at = "/webhooks/" + id
		}
	}
	b.get(at).want(http.StatusOK)
	b.post(at+"/pause", url.Values{}).want(http.StatusSeeOther)
	require.Contains(t, words(b.get(at).want(http.StatusOK).find("dl.tiles")), "paused")
	require.Contains(t, b.post(at+"/test", url.Values{}).want(http.StatusConflict).text, "paused")
	b.post(at+"/resume", url.Values{}).want(http.StatusSeeOther)
	b.post(at+"/test", url.Values{}).want(http.StatusSeeOther)
	require.Contains(t, b.get(at).want(http.StatusOK).text, "whd_")

	edit := b.get(at + "/edit").want(http.StatusOK)
	require.Equal(t, "7", attribute(edit.find("input[name=max_in_flight]"), "value"))
	require.NotContains(t, edit.text, "hunter2-secret")
	b.post(at+"/edit", url.Values{"url": {"https://hooks.example.com/in"}, "events": {"email.sent"}, "max_in_flight": {"9"}, "rate_limit": {"5"}, "ordering": {"strict"}}).want(http.StatusSeeOther)
	shown := words(b.get(at).want(http.StatusOK).root)
	require.Contains(t, shown, "email.sent")
	require.Contains(t, shown, "strict")

	b.get(at + "/rotate").want(http.StatusOK)
	require.NotEqual(t, secret, words(b.post(at+"/rotate", url.Values{}).want(http.StatusOK).find("code[id=secret]")))
	b.get(at + "/disable").want(http.StatusOK)
	b.post(at+"/disable", url.Values{}).want(http.StatusSeeOther)
	b.post(at+"/enable", url.Values{}).want(http.StatusSeeOther)
	b.post(at+"/retry", url.Values{}).want(http.StatusSeeOther)
	b.get(at + "/nothing").want(http.StatusNotFound)

	// Another tenant sees none of it, and a reader no buttons.
	_, other := w.tenant("other")
	stranger := w.signedIn(other)
	require.NotContains(t, stranger.get("/webhooks").want(http.StatusOK).text, "hooks.example.com")
	stranger.get(at).want(http.StatusNotFound)
	stranger.post(at+"/pause", url.Values{}).want(http.StatusNotFound)
	var reader struct{ Secret string }
	w.call(w.tenantKey, "POST", "/v1/keys", map[string]any{"name": "reader", "scopes": []string{"read"}}, &reader)
	viewer := w.signedIn(reader.Secret)
	require.NotContains(t, viewer.get(at).want(http.StatusOK).text, "Pause")
	viewer.post(at+"/delete", url.Values{}).want(http.StatusForbidden)

	b.get(at + "/delete").want(http.StatusOK)
	b.post(at+"/delete", url.Values{}).want(http.StatusSeeOther)
	b.get(at).want(http.StatusNotFound)
}

func TestAReplayIsCountedBeforeItsButtonSendsIt(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	w.call(w.tenantKey, "POST", "/v1/webhooks", map[string]any{"url": "https://hooks.example.com/in", "events": []string{"email.received"}}, nil)
	for range 3 {
		w.call(w.tenantKey, "POST", "/v1/events", map[string]any{"type": "email.received", "data": map[string]any{}}, nil)
	}
	b.get("/replays").want(http.StatusOK)
	b.get("/replays/new").want(http.StatusOK)
	bad := b.post("/replays/new", url.Values{"since": {"yesterday"}, "mode": {"all"}}).want(http.StatusUnprocessableEntity)
	require.Equal(t, "yesterday", attribute(bad.find("input[id=since]"), "value"))
	counted := b.post("/replays/new", url.Values{"since": {"1h"}, "mode": {"all"}}).want(http.StatusOK)
	require.Contains(t, words(counted.find("div.card")), "3 deliveries to 1 webhooks")
	var found struct{ Data []struct{ ID string } }
	w.call(w.tenantKey, "GET", "/v1/replays", nil, &found)
	require.Empty(t, found.Data, "a count sends nothing")
	require.Equal(t, "1h", attribute(counted.find("input[id=since]"), "value"), "what was typed stays")
	require.Empty(t, attribute(counted.find("input[id=until]"), "value"))
	sent := url.Values{"send": {"1"}}
	for _, in := range counted.all("input[type=hidden]") {
		sent.Set(attribute(in, "name"), attribute(in, "value"))
	}
	// The button sends the window that was counted, which has ended before this event.
	w.call(w.tenantKey, "POST", "/v1/events", map[string]any{"type": "email.received", "data": map[string]any{}}, nil)
	var again struct{ Deliveries int }
	w.call(w.tenantKey, "POST", "/v1/replays/preview", map[string]any{"since": sent.Get("since"), "until": sent.Get("until"), "mode": "all"}, &again)
	require.Equal(t, 3, again.Deliveries)
	to := b.post("/replays/new", sent).want(http.StatusSeeOther).header.Get("Location")
	w.call(w.tenantKey, "GET", "/v1/replays", nil, &found)
	require.Len(t, found.Data, 1)
	require.Contains(t, to, found.Data[0].ID)
	var began struct{ Since, Until time.Time }
	w.call(w.tenantKey, "GET", "/v1/replays/"+found.Data[0].ID, nil, &began)
	require.Equal(t, []string{sent.Get("since"), sent.Get("until")}, []string{began.Since.Format(time.RFC3339Nano), began.Until.Format(time.RFC3339Nano)})
	at := "/replays/" + found.Data[0].ID
	b.get(at).want(http.StatusOK)
	b.post(at+"/cancel", url.Values{}).want(http.StatusSeeOther)
	require.Contains(t, words(b.get(at).want(http.StatusOK).root), "cancelling")
}

func TestAgentsDomainsAndKeysAreKeptOnTheirPages(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/agents").want(http.StatusOK)
	require.Contains(t, b.post("/agents", url.Values{"address": {"no address"}}).want(http.StatusUnprocessableEntity).text, "body.address")
	b.post("/agents", url.Values{"address": {"a@example.com"}}).want(http.StatusSeeOther)
	b.get("/agents/a@example.com").want(http.StatusOK)
	b.post("/agents/a@example.com", url.Values{"webhook_url": {"https://hooks.example.com/own"}, "deny_senders": {"spam@example.net"}, "require_dmarc": {"1"}}).want(http.StatusSeeOther)
	require.Contains(t, b.get("/agents/a@example.com").want(http.StatusOK).text, "spam@example.net")

	b.get("/domains").want(http.StatusOK)
	_, other := w.tenant("other")
	second := w.signedIn(other)
	second.get("/domains").want(http.StatusOK)
	second.post("/domains", url.Values{"domain": {"example.net"}}).want(http.StatusSeeOther)
	require.Contains(t, second.get("/domains").want(http.StatusOK).text, "_fanmail.example.net")
	require.NotContains(t, b.get("/domains").want(http.StatusOK).text, "example.net")
	second.get("/agents/a@example.com").want(http.StatusNotFound)

	b.get("/keys").want(http.StatusOK)
	made := b.post("/keys", url.Values{"name": {"<b>reader"}, "scopes": {"read"}}).want(http.StatusOK)
	secret := words(made.find("code[id=secret]"))
	require.NotEmpty(t, secret)
	list := b.get("/keys").want(http.StatusOK)
	require.NotContains(t, list.text, secret)
	require.NotContains(t, list.text, "<b>reader")
	viewer := w.signedIn(secret)
	for _, path := range []string{"/webhooks", "/agents", "/agents/a@example.com", "/domains", "/replays"} {
		page := viewer.get(path).want(http.StatusOK)
		for _, form := range page.all("form[method=post]") {
			require.Contains(t, attribute(form, "action"), "/sign-out", path)
		}
	}
	viewer.post("/agents", url.Values{"address": {"b@example.com"}}).want(http.StatusForbidden)
}
