package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/console"
)

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// paths are the paths of all routes with a method, with parameters that name nothing.
func paths(w *world, method string) (found []string) {
	for _, r := range console.Routes(w.console) {
		if p, ok := strings.CutPrefix(r, method+" "); ok {
			found = append(found, unnamed(p))
		}
	}
	return found
}

// unnamed is the path of a pattern, with parameters that name nothing.
func unnamed(pattern string) string {
	return parameter.ReplaceAllString(strings.ReplaceAll(pattern, "{$}", ""), "evt_00000000000000000000000000000000")
}

// Whatever a route answers, signed in or not, it runs no inline script and loads nothing from elsewhere.
func TestEveryRouteHasAStrictPolicyAndIsNeverStored(t *testing.T) {
	t.Parallel()
	w := start(t)
	get, post := paths(w, "GET"), paths(w, "POST")
	require.Greater(t, len(get), 4)
	require.Greater(t, len(post), 1)
	get = append(get, "/nowhere", "/assets/nothing.js")
	browsers := map[string]*browser{"nobody": w.browser(), "tenant": w.signedIn(w.tenantKey), "operator": w.signedIn(w.operatorKey)}
	for who, b := range browsers {
		check := func(d *document, path string) {
			policy := d.header.Get("Content-Security-Policy")
			require.NotContains(t, policy, "script-src 'unsafe", "%s %s", who, path)
			require.Contains(t, policy, "default-src 'none'", "%s %s", who, path)
			require.NotContains(t, policy, "*", "%s %s", who, path)
			require.NotContains(t, policy, "http", "%s %s", who, path)
			require.Contains(t, policy, "frame-ancestors", "%s %s", who, path)
			require.Equal(t, "nosniff", d.header.Get("X-Content-Type-Options"))
			require.Equal(t, "no-store", d.header.Get("Cache-Control"), "%s %s", who, path)
			require.NotEqual(t, http.StatusInternalServerError, d.status, "%s %s: %s", who, path, d.text)
			noInline(t, d)
		}
		for _, path := range get {
			if path != "/live" {
				check(b.get(path), path)
			}
		}
		for _, path := range post {
			check(b.post(path, url.Values{"csrf": {"wrong"}}), path)
		}
	}
}

// noInline checks that a page has nothing that the policy would stop, and nothing from elsewhere.
func noInline(t *testing.T, d *document) {
	t.Helper()
	for _, n := range d.all("") {
		for _, a := range n.Attr {
			require.False(t, strings.HasPrefix(a.Key, "on"), "%s %s", n.Data, a.Key)
			require.NotEqual(t, "style", a.Key, n.Data)
			if a.Key == "src" || n.Data == "link" && a.Key == "href" || a.Key == "action" {
				require.True(t, strings.HasPrefix(a.Val, "/console/"), "%s %s=%s", n.Data, a.Key, a.Val)
			}
		}
		if n.Data == "script" || n.Data == "style" {
			require.Nil(t, n.FirstChild, "inline %s", n.Data)
		}
	}
}

func TestEveryFormNeedsTheTokenOfItsSessionAndItsOrigin(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, path := range paths(w, "POST") {
		for _, key := range []string{w.tenantKey, w.operatorKey} {
			b := w.signedIn(key)
			if path != "/sign-in" {
				other := w.signedIn(key)
				other.get("/")
				other.get("/operator/tenants")
				require.NotNil(t, other.last)
				b.post(path, url.Values{"csrf": {""}}).want(403)
				b.post(path, url.Values{"csrf": {attribute(other.last.find("input[name=csrf]"), "value")}}).want(403)
			}
			b.get("/")
			b.get("/operator/tenants")
			for _, header := range []string{"Origin", "Sec-Fetch-Site"} {
				form := url.Values{"csrf": {attribute(b.last.find("input[name=csrf]"), "value")}, "key": {key}}
				r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, w.url+console.Base+path, strings.NewReader(form.Encode()))
				require.NoError(t, err)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set(header, map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}[header])
				d := b.do(r)
				require.Equal(t, 403, d.status, "%s %s %s %s", path, header, d.header.Get("Location"), b.cookie())
			}
			b.get("/operator/tenants")
			if b.get("/").status == http.StatusOK {
				continue
			}
			b.get("/operator/tenants").want(200) // nothing has signed the session out
		}
	}
}

func TestASignInFormOfNowhereIsRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	for origin, status := range map[string]int{
		"": 403, "null": 403, "http://fanmail.example": 403, "https://fanmail.example": 303,
	} {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/console/sign-in", strings.NewReader(url.Values{"key": {w.tenantKey}}.Encode()))
		r.Host = "fanmail.example"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		answer := httptest.NewRecorder()
		w.console.ServeHTTP(answer, r)
		require.Equal(t, status, answer.Code, "%q %s", origin, answer.Body)
	}
}

func TestCookiesAreSecureExceptOnThisMachine(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, c := range []struct {
		host, origin string
		secure       bool
	}{
		{"127.0.0.1:8080", "http://127.0.0.1:8080", false},
		{"localhost:8080", "http://localhost:8080", false},
		{"[::1]:8080", "http://[::1]:8080", false},
		{"fanmail.example", "https://fanmail.example", true},
		{"127.0.0.1.evil.example", "https://127.0.0.1.evil.example", true},
		{"10.0.0.1", "https://10.0.0.1", true},
	} {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/console/sign-in", strings.NewReader(url.Values{"key": {w.tenantKey}}.Encode()))
		r.Host = c.host
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", c.origin)
		answer := httptest.NewRecorder()
		w.console.ServeHTTP(answer, r)
		require.Equal(t, 303, answer.Code, c.host)
		set := answer.Result().Cookies()[0]
		require.True(t, set.HttpOnly, c.host)
		require.Equal(t, http.SameSiteLaxMode, set.SameSite, c.host)
		require.Equal(t, c.secure, set.Secure, c.host)
		require.Equal(t, c.secure, strings.HasPrefix(set.Name, "__Host-"), c.host)
		require.Equal(t, "/", set.Path)
		require.Empty(t, set.Domain)
	}
}

func TestAFormThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.browser().post("/sign-in", url.Values{"key": {strings.Repeat("x", 2<<20)}}).want(413)
}

func TestAssetsAreKeptForEverByTheirHash(t *testing.T) {
	t.Parallel()
	w := start(t)
	page := w.browser().get("/sign-in").want(200)
	var files []string
	for _, n := range page.all("script") {
		files = append(files, attribute(n, "src"))
	}
	for _, n := range page.all("link") {
		files = append(files, attribute(n, "href"))
	}
	require.Len(t, files, 4)
	for _, f := range files {
		d := w.browser().get(strings.TrimPrefix(f, console.Base)).want(200)
		require.Equal(t, "public, max-age=31536000, immutable", d.header.Get("Cache-Control"))
		require.Regexp(t, `^/console/assets/[0-9a-f]{16}/`, f)
		require.NotEmpty(t, d.header.Get("Content-Type"))
	}
}

// What a key may not do by the API, its session may not do either.
func TestASessionHasTheRightsOfItsKey(t *testing.T) {
	t.Parallel()
	w := start(t)
	var made struct{ Secret string }
	w.call(w.operatorKey, "POST", "/v1/keys", map[string]any{"tenant_id": w.tenantID, "scopes": []string{"send-only"}}, &made)
	page := w.signedIn(made.Secret).get("/").want(403)
	require.Contains(t, page.text, "this operation needs a key with one of the roles admin, write, replay, read")
}
