package console_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/console"
)

// TestAListPassesTheAPIsRefusalOn with its status and its words, whichever page was open before.
func TestAListPassesTheAPIsRefusalOn(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin, operator := w.signedIn(w.tenantKey), w.signedIn(w.operatorKey)
	hook := w.hook("https://hooks.example.com/in")
	w.call(w.tenantKey, "POST", "/v1/agents", map[string]any{"address": "a@example.com"}, nil)
	for range 2 { // a page must not change what the next one asks for
		for _, path := range []string{
			"/events?cursor=x", "/events?type=x", "/events?since=x", "/events?until=x", "/events?agent_id=" + strings.Repeat("x", 999),
			"/deliveries?cursor=x", "/deliveries?status=x", "/deliveries?event_type=x", "/deliveries?webhook_id=x", "/deliveries?since=x", "/deliveries?until=x",
			"/webhooks?cursor=x", "/webhooks/" + hook + "?cursor=x", "/agents?cursor=x", "/agents/a@example.com?cursor=x", "/agents/a@example.com?status=x",
			"/domains?cursor=x", "/replays?cursor=x", "/keys?cursor=x", "/portal-links?cursor=x", "/audit?cursor=x", "/audit?operation=" + strings.Repeat("x", 101),
		} {
			refusal(t, admin, path)
		}
		for _, path := range []string{
			"/operator/tenants?cursor=x", "/operator/audit?cursor=x", "/operator/audit?tenant_id=x", "/operator/top?by=x", "/operator/top?order=x", "/operator/top?window=x",
		} {
			refusal(t, operator, path)
		}
	}
}

// refusal opens a page of which the API refuses a parameter.
func refusal(t *testing.T, b *browser, path string) {
	t.Helper()
	d := b.get(path)
	require.Equal(t, http.StatusUnprocessableEntity, d.status, "%s: %s", path, words(d.find("main")))
	at, err := url.Parse(path)
	require.NoError(t, err)
	for name := range at.Query() {
		require.Regexp(t, `(query\.`+name+`|<select name="`+name+`)`, d.text, "%s: the parameter is named", path)
	}
}

// TestAPageShowsWhateverTheAPIAnswers for each list: no status of the API becomes a 200.
func TestAPageShowsWhateverTheAPIAnswers(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	w := start(t, func(o *console.Options) {
		own, err := api.NewHandler(api.Options{Pool: o.Pool})
		require.NoError(t, err)
		o.API = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if status == http.StatusOK {
				own.ServeHTTP(rw, r)
				return
			}
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(status)
			_ = json.NewEncoder(rw).Encode(map[string]any{"status": status, "title": "Refused", "detail": "the words of the API"})
		})
	})
	tenant, operator := w.signedIn(w.tenantKey), w.signedIn(w.operatorKey)
	own := []string{"/sign-in", "/live", "/webhooks/new", "/replays/new", "/search", "/export"} // which ask the API nothing here
	for _, status = range []int{http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusConflict} {
		for _, path := range paths(w, http.MethodGet) {
			if slices.Contains(own, path) || strings.Contains(path, "/attachments/") || strings.HasSuffix(path, "0/"+"evt_00000000000000000000000000000000") { // no such attachment or action
				continue
			}
			b := tenant
			if strings.HasPrefix(path, "/operator") {
				b = operator
			}
			path = strings.Replace(path, "/export/evt_00000000000000000000000000000000", "/export/all", 1) // there is no other export
			d := b.get(path)
			require.Equal(t, status, d.status, path)
			require.Contains(t, d.text, "the words of the API", path)
		}
	}
}

// TestMethodsThatNoPageHas are told so, and change nothing.
func TestMethodsThatNoPageHas(t *testing.T) {
	t.Parallel()
	w := start(t)
	token := w.signedIn(w.tenantKey).cookie()
	ask := func(method, path string) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: token})
		r.Host = "127.0.0.1"
		answer := httptest.NewRecorder()
		w.console.ServeHTTP(answer, r)
		return answer.Result()
	}
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, "BREW"} {
		for path, allowed := range map[string]string{
			"/console/events": "GET, HEAD", "/console/webhooks/new": "GET, HEAD, POST", "/console/sign-out": "POST", "/console/": "GET, HEAD",
		} {
			resp := ask(method, path)
			require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, "%s %s", method, path)
			require.Equal(t, allowed, resp.Header.Get("Allow"), "%s %s", method, path)
			require.Equal(t, "DENY", resp.Header.Get("X-Frame-Options"))
		}
		require.Equal(t, http.StatusNotFound, ask(method, "/console/nowhere").StatusCode)
	}
	require.Equal(t, http.StatusOK, ask(http.MethodHead, "/console/").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, ask(http.MethodGet, "/console/sign-out").StatusCode, "a link signs nobody out")
	w.withCookie(token, "/").want(http.StatusOK)
}
