package console_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"image"
	"image/png"
	"math/big"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// typed are the fields of a form as a browser without JavaScript sends them.
func (d *document) typed(action string) url.Values {
	d.t.Helper()
	out := url.Values{}
	for _, form := range d.all("form[method=post]") {
		if !strings.HasSuffix(attribute(form, "action"), action) {
			continue
		}
		for n := range form.Descendants() {
			name := attribute(n, "name")
			switch {
			case name == "", name == "csrf":
			case n.Data == "textarea" && n.FirstChild != nil:
				out.Add(name, n.FirstChild.Data)
			case n.Data == "select":
				out.Add(name, selected(n))
			case n.Data == "input" && (attribute(n, "type") != "checkbox" || has(n, "checked")):
				out.Add(name, attribute(n, "value"))
			}
		}
		return out
	}
	require.Fail(d.t, "no form", "%s in %s", action, d.text)
	return nil
}

// upload sends a form with a file.
func (b *browser) upload(path string, form url.Values, name, content string) *document {
	b.w.t.Helper()
	if b.last != nil && !form.Has("csrf") {
		form.Set("csrf", attribute(b.last.find("input[name=csrf]"), "value"))
	}
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	for field, values := range form {
		for _, v := range values {
			require.NoError(b.w.t, parts.WriteField(field, v))
		}
	}
	file, err := parts.CreateFormFile(name, "file.png")
	require.NoError(b.w.t, err)
	_, err = file.Write([]byte(content))
	require.NoError(b.w.t, err)
	require.NoError(b.w.t, parts.Close())
	r, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodPost, b.w.url+"/console"+path, &body)
	require.NoError(b.w.t, err)
	r.Header.Set("Content-Type", parts.FormDataContentType())
	r.Header.Set("Origin", b.w.url)
	return b.do(r)
}

func has(n *html.Node, key string) bool {
	for _, a := range n.Attr {
		if a.Key == key {
			return true
		}
	}
	return false
}

// selected is the value of a select: the first option's unless another is selected.
func selected(n *html.Node) string {
	var options []*html.Node
	for o := range n.Descendants() {
		if o.Data == "option" && (len(options) == 0 || has(o, "selected")) {
			options = append(options, o)
		}
	}
	last := options[len(options)-1]
	if has(last, "value") {
		return attribute(last, "value")
	}
	return words(last)
}

// certificate is a self-signed certificate in PEM.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// made creates a webhook with a form, and returns its path.
func (b *browser) made(form url.Values) string {
	b.w.t.Helper()
	page := b.post("/webhooks/new", form).want(http.StatusOK)
	for _, a := range page.all("a.primary") {
		if _, at, ok := strings.Cut(attribute(a, "href"), "/console"); ok {
			return at
		}
	}
	require.Fail(b.w.t, "no link to the webhook", page.text)
	return ""
}

func TestAWebhooksFormHasEverySettingAndClearsIt(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	read := func(at string) map[string]any {
		var out map[string]any
		w.call(w.tenantKey, "GET", "/v1"+at, nil, &out)
		return out
	}
	ca := certificate(t)
	form := b.get("/webhooks/new").want(http.StatusOK).typed("/webhooks/new")
	for name, value := range map[string]string{
		"url": "https://hooks.example.com/in", "description": "CRM", "labels": "vip", "data": `{"to.address": {"prefix": "a<b>"}, "amount": {"gte": 9007199254740993}}`, "max_in_flight": "7", "rate_limit": "8", "timeout": "9", "ordering": "strict", "state": "paused",
		"retry": "exponential", "initial": "30s", "factor": "2.5", "max": "4h", "attempts": "6", "jitter": "0.2", "final": "400, 422",
		"ed25519": "1", "envelope": "v0.4", "envelope_until": time.Now().Add(30 * 24 * time.Hour).UTC().Format(time.DateOnly), "signing_secret": "brought-along-secret-of-32-characters",
		"headers": "X-Api-Key: hunter2\r\nX-Other: hunter3", "auth": "basic", "username": "me", "password": "hunter4", "ca": ca,
	} {
		form.Set(name, value)
	}
	at := b.made(form)
	got := read(at)
	require.Equal(t, map[string]any{"type": "exponential", "initial": "30s", "factor": 2.5, "max": "4h", "attempts": 6.0, "jitter": 0.2, "final": []any{400.0, 422.0}}, got["retry"])
	require.Equal(t, map[string]any{"X-Api-Key": "***", "X-Other": "***"}, got["headers"])
	require.Equal(t, map[string]any{"amount": map[string]any{"gte": 9007199254740993.0}, "to.address": map[string]any{"prefix": "a<b>"}}, got["filters"].(map[string]any)["data"]) //nolint:forcetypeassert // a fault of the test
	require.Equal(t, map[string]any{"type": "basic", "username": "me", "password": "***"}, got["auth"])
	require.Equal(t, []any{true, true, "v0.4", 7.0, 8.0, 9.0, "strict"}, []any{got["paused"], got["ed25519"], got["envelope"], got["max_in_flight"], got["rate_limit"], got["timeout"], got["ordering"]})
	require.Equal(t, strings.TrimSpace(ca), strings.TrimSpace(got["ca"].(string))) //nolint:forcetypeassert // a fault of the test

	// The page shows the names of headers, and no value.
	shown := b.get(at).want(http.StatusOK)
	for _, text := range []string{`"amount": {"gte":9007199254740993}`, `"to.address": {"prefix":"a<b>"}`, "X-Api-Key", "X-Other", "exponential", "v0.4", "basic"} {
		require.Contains(t, words(shown.root), text)
	}
	edit := b.get(at + "/edit").want(http.StatusOK)
	for _, page := range []*document{shown, edit} {
		require.NotRegexp(t, "hunter[234]|brought-along", page.text)
	}

	// The form as it is shown changes nothing, secrets included.
	stored := func() (secrets string) {
		require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT signing_secret || ' ' || coalesce(request_settings, '') FROM fanmail.webhooks WHERE url = $1`, got["url"]).Scan(&secrets))
		return secrets
	}
	kept := stored()
	for _, text := range []string{"brought-along-secret-of-32-characters", "hunter2", "hunter3", "hunter4"} {
		require.Contains(t, kept, text, "the tests' database has no key to seal it")
	}
	b.post(at+"/edit", edit.typed("/edit")).want(http.StatusSeeOther)
	require.Equal(t, got, read(at))
	require.Equal(t, kept, stored())

	// One header goes, one is new, one stays; a user name changes without its password.
	form = edit.typed("/edit")
	for name, value := range map[string]string{"remove_header": "X-Other", "headers": "X-New: hunter5", "auth": "basic", "username": "you", "retry": "list", "delays": "1m 5m", "jitter": "", "final": ""} {
		form.Set(name, value)
	}
	b.post(at+"/edit", form).want(http.StatusSeeOther)
	got = read(at)
	require.Equal(t, map[string]any{"X-Api-Key": "***", "X-New": "***"}, got["headers"])
	require.Equal(t, map[string]any{"type": "basic", "username": "you", "password": "***"}, got["auth"])
	now := stored()
	for text, there := range map[string]bool{"brought-along-secret-of-32-characters": true, "hunter2": true, "hunter3": false, "hunter4": true, "hunter5": true} {
		require.Equal(t, there, strings.Contains(now, text), text)
	}
	require.Equal(t, []any{"1m", "5m"}, got["retry"].(map[string]any)["delays"]) //nolint:forcetypeassert // a fault of the test

	// All of it is cleared.
	form = b.get(at + "/edit").want(http.StatusOK).typed("/edit")
	for _, name := range []string{"description", "labels", "data", "rate_limit", "timeout", "retry", "ed25519", "envelope", "envelope_until", "ca"} {
		form.Set(name, "")
	}
	form.Set("auth", "none")
	form["remove_header"] = []string{"X-Api-Key", "X-New"}
	b.post(at+"/edit", form).want(http.StatusSeeOther)
	got = read(at)
	require.NotRegexp(t, "hunter", stored())
	require.Empty(t, got["headers"])
	require.Empty(t, got["filters"])
	require.Equal(t, []any{"", nil, nil, nil, nil, nil, false, 15.0}, []any{got["description"], got["rate_limit"], got["retry"], got["envelope"], got["ca"], got["auth"], got["ed25519"], got["timeout"]})
}

func TestAFaultOfAWebhooksFormStandsBesideItsField(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/webhooks/new").want(http.StatusOK)
	at := b.made(url.Values{"url": {"https://hooks.example.com/in"}, "events": {"email.received"}})
	for _, bad := range []struct {
		id    string
		typed url.Values
	}{
		{"url", url.Values{"url": {"ftp://x"}}},
		{"description", url.Values{"description": {strings.Repeat("x", 201)}}},
		{"patterns", url.Values{"patterns": {"email.eaten"}}},
		{"agent_ids", url.Values{"agent_ids": {"nobody@example.com"}}},
		{"labels", url.Values{"labels": {strings.Repeat("x", 2000)}}},
		{"data", url.Values{"data": {"amount > 10"}}},
		{"data", url.Values{"data": {`{"amount": {"above": 10}}`}}},
		{"data", url.Values{"data": {`{"a[0].b\\": 1}`}}},
		{"max_in_flight", url.Values{"max_in_flight": {"4097"}}},
		{"rate_limit", url.Values{"rate_limit": {"1.5"}}},
		{"timeout", url.Values{"timeout": {"soon"}}},
		{"ordering", url.Values{"ordering": {"fifo"}}},
		{"retry", url.Values{"retry": {"never"}}},
		{"delays", url.Values{"retry": {"list"}, "delays": {"1m soon"}}},
		{"delays", url.Values{"retry": {"list"}, "delays": {"48h"}}},
		{"initial", url.Values{"retry": {"exponential"}, "initial": {"soon"}, "factor": {"2"}, "max": {"4h"}, "attempts": {"6"}}},
		{"factor", url.Values{"retry": {"exponential"}, "initial": {"30s"}, "factor": {"101"}, "max": {"4h"}, "attempts": {"6"}}},
		{"factor", url.Values{"retry": {"exponential"}, "initial": {"30s"}, "factor": {"NaN"}, "max": {"4h"}, "attempts": {"6"}}},
		{"max", url.Values{"retry": {"exponential"}, "initial": {"30s"}, "factor": {"2"}, "max": {"48h"}, "attempts": {"6"}}},
		{"attempts", url.Values{"retry": {"exponential"}, "initial": {"30s"}, "factor": {"2"}, "max": {"4h"}, "attempts": {"31"}}},
		{"jitter", url.Values{"retry": {"list"}, "delays": {"1m"}, "jitter": {"0.6"}}},
		{"final", url.Values{"retry": {"list"}, "delays": {"1m"}, "final": {"400 200"}}},
		{"envelope", url.Values{"envelope": {"v9"}}},
		{"envelope_until", url.Values{"envelope": {"v0.4"}, "envelope_until": {"2099-01-01"}}},
		{"headers", url.Values{"headers": {"no colon hunter2"}}},
		{"headers", url.Values{"headers": {"X-A: hunter2\nx-a: hunter2"}}},
		{"headers", url.Values{"headers": {"Content-Type: hunter2"}}},
		{"auth", url.Values{"auth": {"digest"}}},
		{"token_url", url.Values{"auth": {"oauth2"}, "token_url": {"ftp://x"}, "client_id": {"me"}, "client_secret": {"hunter2"}}},
		{"certificate", url.Values{"auth": {"mtls"}, "certificate": {"none"}, "private_key": {"hunter2"}}},
		{"ca", url.Values{"ca": {"none"}}},
	} {
		for _, path := range []string{"/webhooks/new", at + "/edit"} {
			form := url.Values{"url": {"https://hooks.example.com/in"}, "events": {"email.received"}}
			for name, values := range bad.typed {
				form[name] = values
			}
			page := b.post(path, form).want(http.StatusUnprocessableEntity)
			require.NotNil(t, page.find("p[id="+bad.id+"-fault]"), "%s: %v: %s", path, bad.typed, words(page.find("div[role=alert]")))
			require.NotNil(t, page.find("a[href=#"+bad.id+"]"), "the list of faults leads to %s", bad.id)
			require.NotContains(t, page.text, "hunter2")
			again := page.typed(path)
			for name, values := range bad.typed {
				if in := page.find("input[name=" + name + "]"); in != nil && attribute(in, "type") != "password" {
					require.Equal(t, values, again[name], "%s: %v", path, bad.typed)
				}
			}
		}
	}
	short := b.post("/webhooks/new", url.Values{"url": {"https://hooks.example.com/in"}, "events": {"email.received"}, "signing_secret": {"hunter2"}}).want(http.StatusUnprocessableEntity)
	require.NotNil(t, short.find("p[id=signing_secret-fault]"))
	require.NotContains(t, short.text, "hunter2")
}

func TestAWebhooksDeliveriesAreFilteredAndRetriedInAWindow(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/webhooks/new").want(http.StatusOK)
	at := b.made(url.Values{"url": {"https://hooks.example.com/in"}, "patterns": {"*"}})
	w.call(w.tenantKey, "POST", "/v1"+at+"/test", map[string]any{"type": "email.sent"}, nil)
	w.call(w.tenantKey, "POST", "/v1"+at+"/test", map[string]any{"type": "email.received"}, nil)
	rows := func(query string) (n int) {
		for _, row := range b.get(at + query).want(http.StatusOK).all("tr") {
			if strings.HasPrefix(attribute(row, "data-key"), "whd_") {
				n++
			}
		}
		return n
	}
	for query, want := range map[string]int{
		"": 2, "?status=&event_type=&since=&until=": 2, "?status=pending": 2, "?status=failed": 0, "?event_type=email.sent": 1, "?since=1h": 2,
		"?until=1h": 0, "?since=2020-01-01&until=2020-01-02": 0, "?status=pending&event_type=email.received&since=24h": 1,
	} {
		require.Equal(t, want, rows(query), query)
	}
	for query, id := range map[string]string{"?status=eaten": "status", "?event_type=email.eaten": "event_type", "?since=soon": "since", "?until=soon": "until"} {
		page := b.get(at + query).want(http.StatusUnprocessableEntity)
		require.NotNil(t, page.find("p[id="+id+"-fault]"), query)
		require.Equal(t, "true", attribute(page.find("[id="+id+"]"), "aria-invalid"), query)
	}

	// A bulk retry takes the failed deliveries of its window alone.
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.webhook_subscriber_deliveries SET kind = 'live', status = 'failed', next_retry_at = NULL, finished_at = now()`)
	require.NoError(t, err)
	page := b.get(at + "/retry").want(http.StatusOK)
	require.Equal(t, "168h", page.typed("/retry").Get("since"))
	bad := b.post(at+"/retry", url.Values{"since": {"soon"}, "until": {"1h"}}).want(http.StatusUnprocessableEntity)
	require.NotNil(t, bad.find("p[id=since-fault]"))
	require.Equal(t, "1h", bad.typed("/retry").Get("until"))
	flash := func(form url.Values) string {
		to := b.post(at+"/retry", form).want(http.StatusSeeOther).header.Get("Location")
		_, path, _ := strings.Cut(to, "/console")
		return words(b.get(path).want(http.StatusOK).find("p.flash"))
	}
	require.Contains(t, flash(url.Values{"since": {"24h"}, "until": {"1h"}}), "Pending ones do not count")
	require.Equal(t, "1 deliveries are pending again.", flash(url.Values{"since": {"24h"}, "event_type": {"email.sent"}}))
	require.Equal(t, "1 deliveries are pending again.", flash(page.typed("/retry")))

	// Who may retry but change nothing has these buttons alone.
	var made struct{ Secret string }
	w.call(w.tenantKey, "POST", "/v1/keys", map[string]any{"scopes": []string{"replay"}}, &made)
	second := w.signedIn(made.Secret)
	text := words(second.get(at).want(http.StatusOK).find("main"))
	require.Contains(t, text, "Retry failed")
	require.NotContains(t, text, "Edit")
	second.post(at+"/retry", url.Values{"since": {"1h"}}).want(http.StatusSeeOther)
	second.get(at + "/edit").want(http.StatusForbidden)
	w.call(w.tenantKey, "POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}, &made)
	viewer := w.signedIn(made.Secret)
	require.NotContains(t, words(viewer.get(at).want(http.StatusOK).find("main")), "Retry failed")
	for _, path := range []string{"/webhooks/new", at + "/edit", at + "/retry"} {
		viewer.get(path).want(http.StatusForbidden)
		viewer.post(path, url.Values{"url": {"https://hooks.example.com/"}, "events": {"email.sent"}}).want(http.StatusForbidden)
	}
}

func TestAPortalLinkIsMadeShownOnceAndRevoked(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/webhooks/new").want(http.StatusOK)
	at := b.made(url.Values{"url": {"https://hooks.example.com/in"}, "patterns": {"*"}})
	id := strings.TrimPrefix(at, "/webhooks/")
	require.Contains(t, b.get(at).want(http.StatusOK).text, "/console/portal-links?webhook_id="+id)
	form := b.get("/portal-links?webhook_id=" + id).want(http.StatusOK).typed("/portal-links")
	require.Equal(t, []string{id}, form["webhook_ids"])
	for field, value := range map[string]string{"more_webhooks": "nonsense", "expires_in": "721h", "origins": "https://a.example/path", "accent": "red", "ink": "#12345", "background": "blue", "card": "url(x)", "line": "#0000000", "language": "xx"} {
		bad := url.Values{"webhook_ids": {id}}
		bad.Set(field, value)
		page := b.post("/portal-links", bad).want(http.StatusUnprocessableEntity)
		require.NotNil(t, page.find("p[id="+field+"-fault]"), "%s: %s", field, page.text)
		if field != "language" {
			require.Equal(t, value, page.typed("/portal-links").Get(field))
		}
		require.Equal(t, []string{id}, page.typed("/portal-links")["webhook_ids"])
	}
	require.NotNil(t, b.post("/portal-links", url.Values{}).want(http.StatusUnprocessableEntity).find("p[id=more_webhooks-fault]"))

	// A logo is a file. What is no image is refused beside its field, and the rest stays.
	for _, content := range []string{"no image", "<svg xmlns='http://www.w3.org/2000/svg'/>", strings.Repeat("x", 40_000), "\x89PNG\r\n\x1a\nrest"} {
		page := b.upload("/portal-links", url.Values{"webhook_ids": {id}, "ink": {"#101010"}}, "logo", content).want(http.StatusUnprocessableEntity)
		require.NotNil(t, page.find("p[id=logo-fault]"), content)
		require.Equal(t, "#101010", page.typed("/portal-links").Get("ink"))
	}
	b.upload("/portal-links", url.Values{"webhook_ids": {id}, "csrf": {"wrong"}}, "logo", "x").want(http.StatusForbidden)
	b.upload("/portal-links", url.Values{"webhook_ids": {id}}, "logo", strings.Repeat("x", 2<<20)).want(http.StatusRequestEntityTooLarge)
	var logo bytes.Buffer
	require.NoError(t, png.Encode(&logo, image.NewGray(image.Rect(0, 0, 8, 8))))
	all := url.Values{"webhook_ids": {id}, "accent": {"#0A5bd3"}, "ink": {"#101010"}, "background": {"#fefefe"}, "card": {"#fdfdfd"}, "line": {"#cccccc"}, "language": {"de"}}
	look := words(b.upload("/portal-links", all, "logo", logo.String()).want(http.StatusOK).find("code[id=secret]"))
	_, look, _ = strings.Cut(look, "/console")
	require.Equal(t, logo.String(), w.browser().get(look+"/logo").want(http.StatusOK).text)
	css := w.browser().get(look + "/theme.css").want(http.StatusOK).text
	for _, colour := range []string{"#0A5bd3", "#101010", "#fefefe", "#fdfdfd", "#cccccc"} {
		require.Contains(t, css, colour)
	}
	require.Equal(t, "accent #0A5bd3 ink #101010 background #fefefe card #fdfdfd line #cccccc language de logo",
		words(b.get("/portal-links").want(http.StatusOK).all("td")[3]))
	var links struct{ Data []struct{ ID string } }
	w.call(w.tenantKey, "GET", "/v1/portal-links", nil, &links)
	w.call(w.tenantKey, "DELETE", "/v1/portal-links/"+links.Data[0].ID, nil, nil)

	for name, value := range map[string]string{"expires_in": "2h", "origins": "https://a.example\r\nhttps://b.example:8443", "accent": "#0A5bd3", "language": "de"} {
		form.Set(name, value)
	}
	link := words(b.post("/portal-links", form).want(http.StatusOK).find("code[id=secret]"))
	_, path, ok := strings.Cut(link, "/console")
	require.True(t, ok, link)
	require.Less(t, w.browser().get(path+"/").status, 400)
	list := b.get("/portal-links").want(http.StatusOK)
	require.NotContains(t, list.text, path)
	for _, text := range []string{"https://b.example:8443", "#0A5bd3", "de"} {
		require.Contains(t, words(list.find("table.list")), text)
	}
	row := ""
	for _, tr := range list.all("tr") {
		row += attribute(tr, "data-key")
	}

	// A reader sees the links and no form; a stranger sees none.
	var made struct{ Secret string }
	w.call(w.tenantKey, "POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}, &made)
	viewer := w.signedIn(made.Secret)
	require.Len(t, viewer.get("/portal-links").want(http.StatusOK).all("form[method=post]"), 1, "to sign out")
	form.Del("csrf") // that of another session
	viewer.post("/portal-links", form).want(http.StatusForbidden)
	viewer.post("/portal-links/"+row+"/revoke", url.Values{}).want(http.StatusForbidden)
	_, other := w.tenant("other")
	stranger := w.signedIn(other)
	require.NotContains(t, stranger.get("/portal-links").want(http.StatusOK).text, row)
	form.Del("csrf") // that of another session
	stranger.post("/portal-links", form).want(http.StatusNotFound)
	stranger.post("/portal-links/"+row+"/revoke", url.Values{}).want(http.StatusNotFound)
	require.Less(t, w.browser().get(path+"/").status, 400)

	b.get("/portal-links").want(http.StatusOK)
	b.post("/portal-links/"+row+"/revoke", url.Values{}).want(http.StatusSeeOther)
	require.GreaterOrEqual(t, w.browser().get(path+"/").status, 400)
}

func TestAKeyIsMadeWithLimitsAndRotatedOnItsPage(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/keys").want(http.StatusOK)
	for id, typed := range map[string]url.Values{
		"name": {"name": {strings.Repeat("x", 201)}}, "scopes": {"scopes": {"king"}}, "expires_in": {"expires_in": {"soon"}},
		"networks": {"networks": {"192.0.2.0/24, office"}}, "rate_limit": {"rate_limit": {"many"}},
	} {
		if id != "scopes" {
			typed.Set("scopes", "read")
		}
		page := b.post("/keys", typed).want(http.StatusUnprocessableEntity)
		require.NotNil(t, page.find("p[id="+id+"-fault]"), "%s: %s", id, page.text)
		if id != "scopes" {
			require.Equal(t, typed.Get(id), page.typed("/keys").Get(id))
		}
	}
	form := url.Values{"name": {"ci"}, "scopes": {"read", "replay"}, "expires_in": {"720h"}, "networks": {"127.0.0.0/8, 2001:db8::1"}, "rate_limit": {"9"}}
	first := words(b.post("/keys", form).want(http.StatusOK).find("code[id=secret]"))
	var keys struct {
		Data []struct {
			ID, Name  string
			Scopes    []string
			Networks  []string
			RateLimit *int    `json:"rate_limit"`
			ExpiresAt *string `json:"expires_at"`
		}
	}
	w.call(w.tenantKey, "GET", "/v1/keys", nil, &keys)
	at := ""
	for _, k := range keys.Data {
		if k.Name == "ci" {
			at = "/keys/" + k.ID
			require.ElementsMatch(t, []string{"read", "replay"}, k.Scopes)
			require.Equal(t, []string{"127.0.0.0/8", "2001:db8::1/128"}, k.Networks)
			require.Equal(t, 9, *k.RateLimit)
			require.NotNil(t, k.ExpiresAt)
		}
	}
	list := b.get("/keys").want(http.StatusOK)
	require.Contains(t, words(list.find("table.list")), first[:9])
	require.Contains(t, words(list.find("table.list")), "never", "it was not used yet")
	require.NotContains(t, list.text, first)

	refused := b.post(at+"/rotate", url.Values{"overlap": {"721h"}}).want(http.StatusUnprocessableEntity)
	require.Equal(t, "721h", refused.typed(at+"/rotate").Get("overlap"))
	require.NotNil(t, refused.find("p[id=overlap-"+strings.TrimPrefix(at, "/keys/")+"-fault]"))
	rotated := b.post(at+"/rotate", list.typed(at+"/rotate")).want(http.StatusOK)
	second := words(rotated.find("code[id=secret]"))
	require.NotEqual(t, first, second)
	require.Contains(t, words(rotated.find("div[role=status]")), "The previous key is accepted until")
	w.call(first, "GET", "/v1/webhooks", nil, nil)
	w.call(second, "GET", "/v1/webhooks", nil, nil)

	// Those who may change things but no keys see no button.
	var made struct{ Secret string }
	w.call(w.tenantKey, "POST", "/v1/keys", map[string]any{"scopes": []string{"write"}}, &made)
	writer := w.signedIn(made.Secret)
	require.Len(t, writer.get("/keys").want(http.StatusOK).all("form[method=post]"), 1, "to sign out")
	writer.post("/keys", url.Values{"name": {"x"}}).want(http.StatusForbidden)
	writer.post(at+"/rotate", url.Values{}).want(http.StatusForbidden)
	writer.post(at+"/revoke", url.Values{}).want(http.StatusForbidden)
}
