package console_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/console"
)

// portal makes a webhook with a test delivery and a link to it. The path begins after the
// console's base.
func (w *world) portal(more map[string]any) (path, linkID, hook, delivery, event string) {
	w.t.Helper()
	var made struct {
		ID, URL string
		EventID string `json:"event_id"`
	}
	w.call(w.tenantKey, "POST", "/v1/webhooks", map[string]any{"url": "https://hooks.example.com/<b>in", "events": []string{"*"}}, &made)
	hook = made.ID
	w.call(w.tenantKey, "POST", "/v1/webhooks/"+hook+"/test", nil, &made)
	delivery, event = made.ID, made.EventID
	settings := map[string]any{"webhook_ids": []string{hook}}
	for k, v := range more {
		settings[k] = v
	}
	w.call(w.tenantKey, "POST", "/v1/portal-links", settings, &made)
	at, err := url.Parse(made.URL)
	require.NoError(w.t, err)
	return strings.TrimPrefix(at.Path, console.Base), made.ID, hook, delivery, event
}

func TestAPortalLinkShowsItsWebhooksWithoutASession(t *testing.T) {
	t.Parallel()
	w := start(t)
	path, id, hook, delivery, event := w.portal(map[string]any{"origins": []string{"https://app.example.com", "https://b.example"}})
	var other struct{ ID string }
	w.call(w.tenantKey, "POST", "/v1/webhooks", map[string]any{"url": "https://other.example.com", "events": []string{"*"}}, &other)
	b := w.browser()
	b.get(path).want(303)
	for page, shows := range map[string]string{
		"/": hook, "/webhooks/" + hook: delivery, "/webhooks/" + hook + "?status=pending": delivery, "/deliveries/" + delivery: event, "/events/" + event: delivery,
	} {
		d := b.get(path + page).want(200)
		require.Contains(t, d.text, shows, page)
		require.NotContains(t, d.text, other.ID)
		require.NotContains(t, d.text, "<b>in")
		policy := d.header.Get("Content-Security-Policy")
		require.True(t, strings.HasSuffix(policy, "frame-ancestors https://app.example.com https://b.example"), policy)
		require.Empty(t, d.header.Get("X-Frame-Options"))
		require.Equal(t, "no-referrer", d.header.Get("Referrer-Policy"))
		require.Empty(t, d.header.Values("Set-Cookie"))
		require.Empty(t, d.all("script"))
		require.Equal(t, "en", attribute(d.find("html"), "lang"))
	}
	for _, page := range []string{"/webhooks/" + other.ID, "/webhooks", "/keys", "/events", "/operator", "/search?q=x", "/deliveries/nonsense"} {
		d := b.get(path + page)
		require.GreaterOrEqual(t, d.status, 400, page)
		require.Less(t, d.status, 500, page)
		require.NotContains(t, d.text, other.ID)
		require.Contains(t, d.text, "There is nothing here that this link shows.", page)
	}

	// A retry needs the page's own token.
	b.get(path + "/deliveries/" + delivery).want(200)
	b.post(path+"/deliveries/"+delivery+"/retry", url.Values{"csrf": {"wrong"}}).want(403)
	done := b.post(path+"/deliveries/"+delivery+"/retry", url.Values{}).want(http.StatusSeeOther)
	again := strings.TrimPrefix(done.header.Get("Location"), console.Base)
	require.Contains(t, b.get(again).want(200).text, "The delivery is tried again now.")

	// What a tenant has embedded nowhere is embedded nowhere.
	alone, _, _, _, _ := w.portal(nil)
	d := b.get(alone + "/").want(200)
	require.True(t, strings.HasSuffix(d.header.Get("Content-Security-Policy"), "frame-ancestors 'none'"))
	require.Equal(t, "DENY", d.header.Get("X-Frame-Options"))

	w.call(w.tenantKey, "DELETE", "/v1/portal-links/"+id, nil, nil)
	require.Contains(t, b.get(path+"/").want(404).text, "This link does not work any more")
}

func TestAPortalHasTheColoursLogoAndLanguageOfItsLink(t *testing.T) {
	t.Parallel()
	w := start(t)
	var logo bytes.Buffer
	require.NoError(t, png.Encode(&logo, image.NewGray(image.Rect(0, 0, 8, 8))))
	path, _, hook, delivery, _ := w.portal(map[string]any{"theme": map[string]any{
		"accent": "#ffee00", "background": "#010203", "language": "de", "logo": "data:image/png;base64," + base64.StdEncoding.EncodeToString(logo.Bytes()),
	}})
	b := w.browser()
	d := b.get(path + "/webhooks/" + hook).want(200)
	require.Equal(t, "de", attribute(d.find("html"), "lang"))
	require.Contains(t, d.text, "Zustellungen")
	require.Contains(t, b.get(path+"/deliveries/"+delivery).want(200).text, "Jetzt erneut versuchen")
	require.Contains(t, b.get(path+"/nothing").want(404).text, "Hier gibt es nichts")
	require.Empty(t, d.all("style"))
	require.NotContains(t, d.text, "style=")
	css := b.get(path + "/theme.css").want(200)
	for _, part := range []string{":root { --accent: #ffee00;", " --ground: #010203;", " --on-accent: #000000;", "@media (prefers-color-scheme: dark) { :root { --accent: #ffee00;"} {
		require.Contains(t, css.text, part)
	}
	require.Equal(t, "text/css; charset=utf-8", css.header.Get("Content-Type"))
	image := b.get(path + "/logo").want(200)
	require.Equal(t, "image/png", image.header.Get("Content-Type"))
	require.Equal(t, logo.String(), image.text)
}

func TestGuessesOfPortalLinksAreLimited(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser()
	refused := 0
	for range 30 {
		d := b.get("/portal/" + strings.Repeat("x", 43) + "/")
		if d.status == 429 {
			require.NotEmpty(t, d.header.Get("Retry-After"))
			refused++
			continue
		}
		d.want(404)
		require.Contains(t, d.text, "This link does not work any more")
	}
	require.Greater(t, refused, 10)
}

// TestEveryTextOfThePortalIsInEveryLanguage compares the catalogue with itself and with the
// keys that the pages use.
func TestEveryTextOfThePortalIsInEveryLanguage(t *testing.T) {
	t.Parallel()
	texts, page := console.PortalTexts()
	for lang, of := range texts {
		for key, text := range of {
			require.NotEmpty(t, text, "%s: %s", lang, key)
			for other := range texts {
				require.Contains(t, texts[other], key, other)
			}
		}
		for _, m := range regexp.MustCompile(`\.T "([^"]*)"`).FindAllStringSubmatch(page, -1) {
			require.Contains(t, of, m[1], lang)
		}
	}
	require.Len(t, texts, 2)
}
