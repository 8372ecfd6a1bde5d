package console_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

func TestATenantSignsInSeesItsPagesAndSignsOut(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser()
	require.Equal(t, "/console/sign-in?next=%2Fevents%3Ftype%3Demail.received", b.get("/events?type=email.received").want(303).header.Get("Location"))
	b.get("/sign-in").want(200)
	require.Equal(t, "/console/events?type=x", b.post("/sign-in", url.Values{"key": {w.tenantKey}, "next": {"/events?type=x"}}).want(303).header.Get("Location"))
	page := b.get("/").want(200)
	require.Equal(t, "Overview", words(page.find("h1")))
	require.Equal(t, "acme · laptop", words(page.find("span.name")))
	b.get("/events").want(200)
	b.get("/operator/tenants").want(403)
	b.get("/nowhere").want(404)
	token := b.cookie()
	require.Equal(t, "/console/sign-in", b.post("/sign-out", url.Values{}).want(303).header.Get("Location"))
	b.get("/").want(303)
	w.withCookie(token, "/").want(303) // the session itself has ended, not the cookie alone
}

func TestAnOperatorChoosesATenantToLookAt(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.operatorKey)
	require.Equal(t, "/console/operator", b.get("/").want(303).header.Get("Location"))
	require.Equal(t, "/console/operator/tenants", b.get("/events").want(303).header.Get("Location"))
	require.Contains(t, b.get("/operator/tenants").want(200).text, w.tenantID)
	require.Equal(t, "/console/", b.post("/operator/view", url.Values{"tenant_id": {w.tenantID}}).want(303).header.Get("Location"))
	require.Equal(t, "/console/operator", b.post("/operator/view", url.Values{}).want(303).header.Get("Location"))
	b.post("/operator/view", url.Values{"tenant_id": {"acme"}}).want(422)
}

// Every way to end a key ends its sessions with the next request.
func TestASessionEndsWithItsKeyItsTimeAndItsIdleTime(t *testing.T) {
	t.Parallel()
	w := start(t)
	for name, sql := range map[string]string{
		"revoked":       `UPDATE fanmail.api_keys SET revoked_at = now() WHERE tenant_id IS NOT NULL`,
		"expired":       `UPDATE fanmail.api_keys SET expires_at = now() WHERE tenant_id IS NOT NULL`,
		"over":          `UPDATE fanmail.console_sessions SET expires_at = now()`,
		"idle too long": `UPDATE fanmail.console_sessions SET seen_at = now() - interval '8 hours'`,
	} {
		b := w.signedIn(w.tenantKey)
		b.get("/").want(200)
		exec(t, w, sql)
		require.Equal(t, "/console/sign-in", b.get("/").want(303).header.Get("Location"), name)
		exec(t, w, `UPDATE fanmail.api_keys SET revoked_at = NULL, expires_at = NULL`)
	}
}

func TestTheUseOfASessionIsRecordedOnceAMinute(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	exec(t, w, `UPDATE fanmail.console_sessions SET seen_at = now() - interval '30 seconds'`)
	b.get("/").want(200)
	require.Equal(t, 1, count(t, w, `SELECT count(*) FROM fanmail.console_sessions WHERE seen_at < now() - interval '29 seconds'`))
	exec(t, w, `UPDATE fanmail.console_sessions SET seen_at = now() - interval '7 hours'`)
	b.get("/").want(200)
	require.Equal(t, 1, count(t, w, `SELECT count(*) FROM fanmail.console_sessions WHERE seen_at > now() - interval '1 minute'`))
}

func TestTheDatabaseHoldsNoTokenAndAKeyHasFiftySessions(t *testing.T) {
	t.Parallel()
	w := start(t)
	first := w.signedIn(w.tenantKey)
	other := w.signedIn(w.operatorKey)
	for range 50 {
		w.signedIn(w.tenantKey)
	}
	first.get("/").want(303)
	other.get("/operator/tenants").want(200)
	require.Equal(t, 51, count(t, w, `SELECT count(*) FROM fanmail.console_sessions`))
	var dump string
	require.NoError(t, w.pool.QueryRow(context.Background(), `SELECT string_agg(s::text, ' ') FROM fanmail.console_sessions AS s`).Scan(&dump))
	require.NotContains(t, dump, other.cookie())
	sum := sha256.Sum256([]byte(other.cookie()))
	require.Equal(t, 1, count(t, w, `SELECT count(*) FROM fanmail.console_sessions WHERE token_hash = $1`, sum[:]))
}

// A token that somebody else has chosen is never adopted, and a sign-in ends the session before it.
func TestASignInMakesANewSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser()
	b.setCookie("chosen-by-somebody-else")
	b.post("/sign-in", url.Values{"key": {w.tenantKey}}).want(303)
	first := b.cookie()
	require.NotEqual(t, "chosen-by-somebody-else", first)
	b.post("/sign-in", url.Values{"key": {w.operatorKey}}).want(303)
	require.NotEqual(t, first, b.cookie())
	w.withCookie(first, "/").want(303)
	require.Equal(t, 1, count(t, w, `SELECT count(*) FROM fanmail.console_sessions`))
}

func TestASignInLeadsToTheConsoleOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, next := range []string{
		"https://evil.example/", "//evil.example/", `/\evil.example`, `\\evil.example`, "javascript:alert(1)", "/../v1/tenants", "/a/../../docs", "/%2e%2e/x/..",
		"/\t/evil.example", "evil.example", "http:evil.example", "///evil.example", "/\nSet-Cookie: x=y", "",
	} {
		b := w.browser()
		at := b.post("/sign-in", url.Values{"key": {w.tenantKey}, "next": {next}}).want(303).header.Get("Location")
		require.Equal(t, "/console/", at, "%q", next)
	}
	b := w.browser()
	require.Equal(t, "/console/deliveries/whd_1?x=//y", b.post("/sign-in", url.Values{"key": {w.tenantKey}, "next": {"/deliveries/whd_1?x=//y"}}).header.Get("Location"))
}

func TestAttemptsToSignInAreLimited(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser()
	for range 10 {
		b.post("/sign-in", url.Values{"key": {"fm_wrong"}}).want(401)
	}
	refused := b.post("/sign-in", url.Values{"key": {w.tenantKey}}).want(429)
	require.NotEmpty(t, refused.header.Get("Retry-After"))
	require.Contains(t, words(refused.find("p.fault")), "Too many attempts to sign in. Try again in ")
	// Links are another way to try keys, so that they count with the form.
	require.Equal(t, 429, w.link("fm_wrong", nil))
}

func TestASignInThatSucceedsDoesNotCount(t *testing.T) {
	t.Parallel()
	w := start(t)
	for range 3 {
		b := w.browser()
		for range 9 {
			b.post("/sign-in", url.Values{"key": {"fm_wrong"}}).want(401)
		}
		b.post("/sign-in", url.Values{"key": {w.tenantKey}}).want(303)
	}
}

func TestALinkSignsInOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	var link console.Link
	require.Equal(t, 201, w.link(w.tenantKey, &link))
	path := strings.TrimPrefix(link.Path, console.Base)
	for range 2 { // looking at it uses nothing up
		page := w.browser().get(path).want(200)
		require.Contains(t, words(page.find("form")), "This link signs you in as acme · laptop . It works once.")
	}
	token := path[strings.Index(path, "=")+1:]
	var once atomic.Int32
	var all sync.WaitGroup
	for range 5 {
		b := w.browser()
		all.Go(func() {
			if d := b.post("/sign-in", url.Values{"link": {token}}); d.status == http.StatusSeeOther {
				once.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, once.Load())
	require.Contains(t, words(w.browser().get(path).want(404).find("p.fault")), "The link is used already, or has expired.")

	require.Equal(t, 201, w.link(w.tenantKey, &link))
	var dump string
	require.NoError(t, w.pool.QueryRow(context.Background(), `SELECT string_agg(s::text, ' ') FROM fanmail.console_links AS s`).Scan(&dump))
	_, token, _ = strings.Cut(link.Path, "=")
	require.NotContains(t, dump, token)
	exec(t, w, `UPDATE fanmail.console_links SET expires_at = now()`)
	w.browser().post("/sign-in", url.Values{"link": {token}}).want(401)

	require.Equal(t, 201, w.link(w.tenantKey, &link))
	_, token, _ = strings.Cut(link.Path, "=")
	exec(t, w, `UPDATE fanmail.api_keys SET revoked_at = now() WHERE tenant_id IS NOT NULL`)
	w.browser().post("/sign-in", url.Values{"link": {token}}).want(401)
	require.Equal(t, 401, w.link(w.tenantKey, nil))
}

func TestOldLinksOfAKeyGiveWay(t *testing.T) {
	t.Parallel()
	w := start(t)
	for range 25 {
		require.Equal(t, 201, w.link(w.tenantKey, nil))
	}
	require.Equal(t, 20, count(t, w, `SELECT count(*) FROM fanmail.console_links`))
}

func TestSessionsAndLinksThatHaveEndedAreDeleted(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.signedIn(w.tenantKey)
	require.Equal(t, 201, w.link(w.tenantKey, nil))
	exec(t, w, `UPDATE fanmail.console_sessions SET expires_at = now() - interval '1 second'`)
	exec(t, w, `UPDATE fanmail.console_links SET expires_at = now() - interval '1 second'`)
	kept := w.signedIn(w.tenantKey)
	require.Equal(t, 201, w.link(w.tenantKey, nil))
	_, err := retention.Run(context.Background(), w.pool, console.RetentionRules())
	require.NoError(t, err)
	require.Equal(t, 1, count(t, w, `SELECT count(*) FROM fanmail.console_sessions`))
	require.Equal(t, 1, count(t, w, `SELECT count(*) FROM fanmail.console_links`))
	kept.get("/").want(200)
}

// link asks for a link with a key and returns the status.
func (w *world) link(key string, out *console.Link) int {
	w.t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, console.LinksPath, nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Authorization", "Bearer "+key)
	answer := httptest.NewRecorder()
	w.console.ServeHTTP(answer, r)
	if out != nil {
		require.NoError(w.t, json.Unmarshal(answer.Body.Bytes(), out))
	}
	return answer.Code
}

func exec(t *testing.T, w *world, sql string, args ...any) {
	t.Helper()
	_, err := w.pool.Exec(context.Background(), sql, args...)
	require.NoError(t, err)
}

func count(t *testing.T, w *world, sql string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, w.pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}
