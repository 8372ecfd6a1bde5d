package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// from sends a request to the console from an address.
func (w *world) from(address, method, path string, form url.Values) *http.Response {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, "/console"+path, strings.NewReader(form.Encode()))
	r.RemoteAddr, r.Host = address, "127.0.0.1:8080"
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://127.0.0.1:8080")
	}
	answer := httptest.NewRecorder()
	w.console.ServeHTTP(answer, r)
	return answer.Result()
}

// TestStrangersKeepNobodyOut however many addresses they have: of sign-ins, nor of portal links.
func TestStrangersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	w := start(t)
	path, _, _, _, _ := w.portal(nil)
	for i := range 300 {
		stranger := fmt.Sprintf("[2001:db8:%x::1]:1", i)
		require.Equal(t, http.StatusUnauthorized, w.from(stranger, http.MethodPost, "/sign-in", url.Values{"key": {"fm_wrong"}}).StatusCode)
		require.Equal(t, http.StatusNotFound, w.from(stranger, http.MethodGet, "/portal/"+strings.Repeat("x", 43)+"/", nil).StatusCode)
	}
	require.Equal(t, http.StatusSeeOther, w.from("192.0.2.1:1", http.MethodPost, "/sign-in", url.Values{"key": {w.tenantKey}}).StatusCode)
	require.Equal(t, http.StatusOK, w.from("192.0.2.1:1", http.MethodGet, path+"/", nil).StatusCode)
	// One network counts as one, whatever its addresses.
	for i := range 10 {
		w.from(fmt.Sprintf("[2001:db8:ffff::%x]:1", i+1), http.MethodPost, "/sign-in", url.Values{"key": {"fm_wrong"}})
	}
	require.Equal(t, http.StatusTooManyRequests, w.from("[2001:db8:ffff::ffff]:1", http.MethodPost, "/sign-in", url.Values{"key": {w.tenantKey}}).StatusCode)
}

// TestAFormOfAnotherOriginIsRefused with the session's cookie and its token: an attacker who has read the token once, or a
// page on another port or of a sandboxed frame.
func TestAFormOfAnotherOriginIsRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	page := b.get("/webhooks/new").want(http.StatusOK)
	token := attribute(page.find("input[name=csrf]"), "value")
	send := func(header http.Header) int {
		form := url.Values{"csrf": {token}, "url": {"https://hooks.example.com/in"}, "events": {"email.received"}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/console/webhooks/new", strings.NewReader(form.Encode()))
		require.NoError(t, err)
		r.Header = header
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return b.do(r).status
	}
	host := strings.TrimPrefix(w.url, "http://")
	for _, header := range []http.Header{
		{"Origin": {"null"}},
		{"Origin": {"http://127.0.0.1:1"}},
		{"Origin": {"http://localhost"}},
		{"Origin": {"http://" + host + ".evil.example"}},
		{"Origin": {"http://evil.example/" + host}},
		{"Origin": {"http://evil.example@" + host + ":80"}},
		{"Origin": {""}, "Sec-Fetch-Site": {"cross-site"}},
		{"Origin": {w.url}, "Sec-Fetch-Site": {"same-site"}},
		{"Origin": {w.url}, "Sec-Fetch-Site": {"cross-site"}},
		{"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}},
	} {
		require.Equal(t, http.StatusForbidden, send(header), "%v", header)
	}
	require.Equal(t, http.StatusOK, send(http.Header{"Origin": {w.url}}))
	require.Equal(t, http.StatusOK, send(http.Header{"Origin": {"null"}, "Sec-Fetch-Site": {"same-origin"}}), "a page that tells no referrer")
	token = "x" + token
	require.Equal(t, http.StatusForbidden, send(http.Header{}), "no browser, and not the token")
}

// TestPathsLeadNowhereElse however they are written.
func TestPathsLeadNowhereElse(t *testing.T) {
	t.Parallel()
	w := start(t)
	portal, _, hook, _, _ := w.portal(nil)
	token := w.signedIn(w.tenantKey).cookie()
	for _, base := range []string{"/console", "/console" + portal} {
		for _, trick := range []string{
			"//evil.example", "//evil.example/", "/..%2f..%2fv1/tenants", "/%2e%2e/v1/tenants", "/../v1/tenants", "/./../../v1/keys", "/%5cevil.example", "/%2f%2fevil.example/",
			"/webhooks/" + hook + "%2f..%2f..%2fkeys", "/webhooks/..%2fkeys", "/webhooks/..", "/deliveries/%2e%2e%2f%2e%2e%2ftenants", "/events/x%3Fa=b", "/events/%00", "/events/%0d%0aSet-Cookie:x=y",
			"/assets/../../v1/tenants", "/assets/%2e%2e/", "/.%2e/", "//", "/;/evil.example", "/events;/..",
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			at, err := url.Parse("http://127.0.0.1" + base + trick)
			require.NoError(t, err, trick)
			r.URL, r.Host, r.RequestURI = at, "127.0.0.1", base+trick
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: token})
			answer := httptest.NewRecorder()
			w.console.ServeHTTP(answer, r)
			require.Less(t, answer.Code, 500, "%s: %s", base+trick, answer.Body)
			require.NotContains(t, answer.Body.String(), `"data"`, "%s: no answer of the API itself", trick)
			require.Empty(t, answer.Header().Values("Set-Cookie"), trick)
			if to := answer.Header().Get("Location"); to != "" {
				next, err := url.Parse(to)
				require.NoError(t, err, to)
				require.Empty(t, next.Host, "%s leads to %s", trick, to)
				require.True(t, strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") && !strings.HasPrefix(to, `/\`), "%s leads to %s", trick, to)
			}
		}
	}
}

// TestAPortalLinkShowsNothingOfAnotherTenant by ids that its holder knows.
func TestAPortalLinkShowsNothingOfAnotherTenant(t *testing.T) {
	t.Parallel()
	w := start(t)
	path, _, _, _, _ := w.portal(nil)
	mine := w.tenantKey
	_, w.tenantKey = w.tenant("other")
	foreign, _, hook, delivery, event := w.portal(nil)
	w.tenantKey = mine
	b := w.browser()
	b.get(foreign + "/deliveries/" + delivery).want(http.StatusOK)
	for _, page := range []string{"/webhooks/" + hook, "/webhooks/" + hook + "?status=pending", "/deliveries/" + delivery, "/events/" + event} {
		d := b.get(path + page).want(http.StatusNotFound)
		for _, id := range []string{hook, delivery, event} {
			require.NotContains(t, strings.ReplaceAll(d.text, path, ""), id, page)
		}
	}
	// The token of one portal's pages is none of another's.
	b.post(path+"/deliveries/"+delivery+"/retry", url.Values{}).want(http.StatusForbidden)
}
