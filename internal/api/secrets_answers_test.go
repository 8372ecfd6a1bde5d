package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/api"
)

// brought is in each secret of the requests of this file.
const brought = "hunter2BroughtAlong"

// wrongSecrets are settings of a webhook with a secret that something is wrong with.
func wrongSecrets(t *testing.T) []map[string]any {
	t.Helper()
	cert, key, _ := pemOf(t)
	body := base64.StdEncoding.EncodeToString([]byte(brought + brought))
	block := func(kind, body string) string {
		return "-----BEGIN " + kind + "-----\n" + body + "\n-----END " + kind + "-----\n"
	}
	var out []map[string]any
	// Of another type, in another place, and too long.
	wrong := func(name string, more ...any) {
		for _, v := range append([]any{[]string{brought}, map[string]any{"value": brought}, [][]any{{brought, 1}}, strings.Repeat(brought, 1000), brought + "\n", brought + "\x00é"}, more...) {
			out = append(out, map[string]any{name: v})
		}
	}
	wrong("signing_secret", "whsec_"+brought+"!", "whsk_"+brought, brought+"\x7f")
	wrong("Signing_Secret", brought)
	wrong("secret", brought)
	wrong("headers", brought, map[string]any{"x-key": []string{brought}}, map[string]any{"x-key": map[string]any{"a": brought}}, map[string]any{"x-key": brought + "\r\nHost: x"},
		map[string]any{"host": brought}, map[string]any{"authorization": brought, "Authorization": brought}, map[string]any{"x y": brought}, map[string]any{"x-key": strings.Repeat(brought, 500)})
	wrong("auth", brought)
	wrong("ca", brought, block("CERTIFICATE", body), block("PRIVATE KEY", body))
	auth := func(kind string, values map[string]any) {
		whole := map[string]any{"type": kind}
		for k, v := range values {
			whole[k] = v
		}
		out = append(out, map[string]any{"auth": whole})
	}
	for _, v := range []any{[]string{brought}, map[string]any{"value": brought}, strings.Repeat(brought, 1000), brought + "\n"} {
		auth("basic", map[string]any{"username": "me", "password": v})
		auth("oauth2", map[string]any{"token_url": "https://tokens.example.com/t", "client_id": "me", "client_secret": v})
		auth("mtls", map[string]any{"certificate": cert, "private_key": v})
		auth("mtls", map[string]any{"certificate": v, "private_key": key})
	}
	auth("basic", map[string]any{"password": brought})
	auth("basic", map[string]any{"username": "a:b", "password": brought})
	auth("basic", map[string]any{"username": "me", "client_secret": brought})
	auth("bearer", map[string]any{"password": brought})
	auth("bearer", map[string]any{"token": brought})
	auth("oauth2", map[string]any{"client_id": "me", "client_secret": brought})
	auth("oauth2", map[string]any{"token_url": "https://tokens.example.com/t", "client_secret": brought, "client_id": ""})
	auth("oauth2", map[string]any{"token_url": "https://tokens.example.com/t", "client_id": "me", "client_secret": brought, "scopes": []string{"a b"}})
	for _, u := range wrongURLs() {
		auth("oauth2", map[string]any{"token_url": u, "client_id": "me", "client_secret": brought})
		out = append(out, map[string]any{"url": u})
	}
	auth("mtls", map[string]any{"certificate": cert, "private_key": block("PRIVATE KEY", body)})
	auth("mtls", map[string]any{"certificate": cert, "private_key": block(brought, body)})
	auth("mtls", map[string]any{"certificate": block("CERTIFICATE", body), "private_key": key})
	auth("mtls", map[string]any{"private_key": brought})
	out = append(out, map[string]any{"signing_secret": brought, "headers": map[string]any{"x-key": brought}, "rate_limit": -1})
	return out
}

// wrongURLs hold a secret where a URL is refused.
func wrongURLs() []string {
	var out []string
	for _, u := range []string{
		"https://me:%s@hooks.example.com/", "https://%s@hooks.example.com/", "https://me:%s%%zz@hooks.example.com/", "https://hooks.example.com:%s/", "ftp://hooks.example.com/%s",
		"https://hooks.example.com/#%s", "https:// me:%s@hooks.example.com", "https://127.0.0.1/?token=%s", "//me:%s@hooks.example.com", "me:%s@hooks.example.com", "https://[::1/%s",
	} {
		out = append(out, fmt.Sprintf(u, brought))
	}
	return out
}

// broken are bodies that end or begin wrongly, with a secret in them.
func broken() []string {
	sound := `{"url":"` + hookURL + `","events":["*"],"signing_secret":"` + brought + `"}`
	return []string{
		sound[:len(sound)-1], sound[:len(sound)-2], sound + "}", sound + `"` + brought + `"`, `"` + brought + `"`, `["` + brought + `"]`, brought, `{` + brought + `}`,
		strings.Replace(sound, `"signing`, `signing`, 1), strings.Replace(sound, brought, brought+"\xff", 1), strings.Replace(sound, brought, brought+"\n", 1),
		strings.Replace(sound, brought, brought+`\ud800`, 1), strings.Replace(sound, brought, brought+`\q`, 1), strings.Replace(sound, `{`, `{"signing_secret":"`+brought+`",`, 1),
		strings.Repeat("[", 20_000) + brought,
	}
}

// hidden checks that an answer shows the secret of its request nowhere, or, where it may, in its signing_secret alone.
func hidden(t *testing.T, a *answer, says string) {
	t.Helper()
	text := string(a.raw) + fmt.Sprint(a.header)
	if a.status < 300 {
		if s := a.text("signing_secret"); s != "" {
			text = strings.Replace(text, s, "", 1)
		}
	}
	for _, form := range []string{brought, base64.StdEncoding.EncodeToString([]byte(brought))[:20], url.QueryEscape(brought)} {
		require.NotContains(t, text, form, "%s: %d", says, a.status)
	}
}

// tooLong sends a body over the limit. The server answers while the body is on its way and closes the connection, so an
// answer may be lost with it; then it sends the body again.
func tooLong(t *testing.T, c client) (a *answer) {
	t.Helper()
	body := `{"signing_secret":"` + brought + `","description":"` + strings.Repeat(" ", 3<<20) + `"}`
	require.Eventually(t, func() bool {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.w.url+"/v1/webhooks", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+c.key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		a = &answer{status: resp.StatusCode, header: resp.Header}
		a.raw, err = io.ReadAll(resp.Body)
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, http.StatusRequestEntityTooLarge, a.status)
	return a
}

// TestNoAnswerShowsASecretOfItsRequest sends secrets that are refused, in each shape and to each operation that takes a
// body, and looks into the answers and the log.
func TestNoAnswerShowsASecretOfItsRequest(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	w := start(t, func(o *api.Options) { o.Log = zap.New(core) })
	c := w.tenant()
	id := c.webhook()
	sound := map[string]any{"url": hookURL, "events": []string{"*"}}
	refused := 0
	try := func(who client, method, path string, body any, headers ...string) *answer {
		t.Helper()
		a := who.do(method, path, body, headers...)
		hidden(t, a, fmt.Sprintf("%s %s %.200v", method, path, body))
		if a.status >= 400 {
			require.Less(t, a.status, 500, "%s %s %.200v: %s", method, path, body, a.raw)
			refused++
		}
		return a
	}
	for _, settings := range wrongSecrets(t) {
		whole := map[string]any{}
		for _, from := range []map[string]any{sound, settings} {
			for k, v := range from {
				whole[k] = v
			}
		}
		if a := try(c, "POST", "/v1/webhooks", whole); a.status < 300 {
			c.do("DELETE", "/v1/webhooks/"+a.text("id"), nil).want(t, 204)
		}
		try(c, "PATCH", "/v1/webhooks/"+id, settings)
		try(c, "POST", "/v1/webhooks/"+id+"/rotate-secret", settings)
	}
	require.Greater(t, refused, 150)

	whole := map[string]any{"url": hookURL, "events": []string{"*"}, "signing_secret": brought, "headers": map[string]any{"x-key": brought}}
	made := try(c, "POST", "/v1/webhooks", whole, "Idempotency-Key", "one").want(t, 201)
	require.Equal(t, brought, made.text("signing_secret"))
	require.Equal(t, brought, try(c, "POST", "/v1/webhooks", whole, "Idempotency-Key", "one").text("signing_secret"), "the same answer again")
	whole["description"] = "another"
	try(c, "POST", "/v1/webhooks", whole, "Idempotency-Key", "one").want(t, 422)
	try(c, "POST", "/v1/webhooks/"+id+"/rotate-secret", whole["headers"]).want(t, 422)
	try(w.tenant(), "POST", "/v1/webhooks/"+id+"/rotate-secret", map[string]any{"signing_secret": brought}).want(t, 404)
	stranger := c
	stranger.key = "fm_unknown"
	try(stranger, "POST", "/v1/webhooks", whole).want(t, 401)
	for c.do("POST", "/v1/webhooks", sound).status == 201 { // up to the limit
	}
	try(c, "POST", "/v1/webhooks", whole).want(t, 409)

	// Every operation with a body refuses what it doesn't know, and what is no JSON.
	doc, err := api.OpenAPI()
	require.NoError(t, err)
	var parsed struct {
		Paths map[string]map[string]struct {
			Body json.RawMessage `json:"requestBody"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(doc, &parsed))
	operations := 0
	for pattern, item := range parsed.Paths {
		for method, op := range item {
			if op.Body == nil {
				continue
			}
			operations++
			path := parameter.ReplaceAllString(strings.Replace(pattern, "/webhooks/{id}", "/webhooks/"+id, 1), c.tenantID)
			for _, who := range []client{c, w.operator} {
				for _, name := range []string{"signing_secret", "secret", "key", "password"} {
					for _, v := range []any{brought, []any{brought}, map[string]any{"x": brought}} {
						try(who, strings.ToUpper(method), path, map[string]any{name: v})
					}
				}
				for _, text := range broken() {
					try(who, strings.ToUpper(method), path, text)
					try(who, strings.ToUpper(method), path, text, "Content-Type", "text/plain")
				}
			}
		}
	}
	require.Greater(t, operations, 10)
	hidden(t, tooLong(t, c), "a body over the limit")
	for _, e := range logs.All() {
		require.NotContains(t, fmt.Sprint(e.Message, e.ContextMap()), brought)
	}
}

// TestAPostShowsNoOtherSecret calls each POST of the document, with planted secrets about, and looks at what the answers
// show.
func TestAPostShowsNoOtherSecret(t *testing.T) {
	t.Parallel()
	w, c, p, paths := planting(t)
	shows := map[string]bool{}
	succeeded := 0
	for pattern, item := range paths {
		if item["post"] == nil {
			continue
		}
		for _, path := range p.paths(t, pattern) {
			for _, who := range []client{c, w.operator} {
				for _, body := range []any{nil, map[string]any{}, soundBody(pattern, c)} {
					a := who.do(http.MethodPost, path, body)
					for _, s := range p.secrets {
						require.NotContains(t, string(a.raw), s, "POST %s", path)
					}
					for _, name := range []string{"signing_secret", "secret"} {
						if s := a.text(name); s != "" {
							require.Less(t, a.status, 300)
							shows[pattern] = true
							p.secrets = append(p.secrets, s, strings.TrimPrefix(s, "whsec_")) // no later answer may show it
						}
					}
					if a.status < 300 {
						succeeded++
					}
				}
			}
		}
	}
	require.Greater(t, succeeded, 10)
	require.Equal(t, map[string]bool{"/v1/webhooks": true, "/v1/webhooks/{id}/rotate-secret": true, "/v1/keys": true, "/v1/keys/{id}/rotate": true}, shows, "as the document says")
	p.notStored(t, w)
}

// soundBody is a body that an operation accepts.
func soundBody(pattern string, c client) any {
	return map[string]any{
		"/v1/webhooks": map[string]any{"url": hookURL, "events": []string{"*"}},
		"/v1/keys":     map[string]any{"tenant_id": c.tenantID},
		"/v1/events":   map[string]any{"type": "email.received", "data": map[string]any{}},
		"/v1/tenants":  map[string]any{"name": "another"},
		"/v1/agents":   map[string]any{"address": "another@example.com"},
		"/v1/domains":  map[string]any{"domain": "another.example"},
		"/v1/replays":  map[string]any{"since": "2026-01-01T00:00:00Z"},
	}[pattern]
}
