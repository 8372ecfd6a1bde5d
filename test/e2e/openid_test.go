package e2e_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/internal/openid"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// people is the storage of the provider, which tells claims of our choice.
type people struct {
	*storage.Storage
	mu     sync.Mutex
	claims map[string]any
}

func (p *people) tell(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims = claims
}

// SetUserinfoFromToken adds the claims to what the provider tells on request.
func (p *people) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, v := range p.claims {
		info.AppendClaims(k, v)
	}
	return p.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
}

// signInRig is a console whose people sign in at a provider.
type signInRig struct {
	t                *testing.T
	provider         http.Handler
	away             atomic.Bool // the provider answers 503
	people           *people
	console          *httptest.Server
	tenant, other    tenancy.Tenant
	secretOfProvider string
}

func startSignIn(t *testing.T) *signInRig {
	t.Helper()
	rig := &signInRig{t: t, secretOfProvider: "a-client-secret"}
	issuer := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rig.away.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		rig.provider.ServeHTTP(w, r)
	}))
	issuer.Start()
	t.Cleanup(issuer.Close)
	at := strings.Replace(issuer.URL, "127.0.0.1", "localhost", 1)
	rig.people = &people{Storage: storage.NewStorage(storage.NewUserStore(at))}
	rig.provider = exampleop.SetupServer(at, rig.people, slog.New(slog.DiscardHandler), false, op.WithAllowInsecure())

	pool := pgtest.Pool(t)
	var err error
	rig.tenant, err = tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	rig.other, err = tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "other"})
	require.NoError(t, err)
	h, err := api.NewHandler(api.Options{Pool: pool})
	require.NoError(t, err)
	var pages http.Handler
	rig.console = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pages.ServeHTTP(w, r) }))
	t.Cleanup(rig.console.Close)
	redirect := rig.console.URL + console.CallbackPath
	storage.RegisterClients(storage.WebClient("fanmail "+rig.tenant.ID.String(), rig.secretOfProvider, redirect))
	client, err := openid.New(openid.Config{
		Issuer: at, ClientID: "fanmail " + rig.tenant.ID.String(), ClientSecret: "a-client-secret", Redirect: redirect, Scopes: []string{"profile", "email"},
		Roles: []openid.Role{
			{Group: "staff", Name: openid.Viewer},
			{Group: "owners", Name: openid.Admin},
			{Group: "auditors", Name: openid.Viewer, TenantID: rig.other.ID},
			{Group: "sre", Name: openid.Operator},
		},
		GroupsClaim: "groups", TenantClaim: "fanmail_tenant",
	})
	require.NoError(t, err)
	pages, err = console.New(console.Options{API: h, Pool: pool, OpenID: client})
	require.NoError(t, err)
	return rig
}

// visitor follows redirects, and keeps cookies.
func (r *signInRig) visitor() *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(r.t, err)
	return &http.Client{Jar: jar}
}

// read does a request and returns the last answer.
func (r *signInRig) read(c *http.Client, req *http.Request) (status int, at *url.URL, text string) {
	r.t.Helper()
	resp, err := c.Do(req)
	require.NoError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, resp.Request.URL, string(b)
}

func (r *signInRig) open(c *http.Client, at string) (int, *url.URL, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, at, nil)
	require.NoError(r.t, err)
	return r.read(c, req)
}

// signIn goes through the provider's own page with a name and a password.
func (r *signInRig) signIn(c *http.Client, next string) (int, *url.URL, string) {
	r.t.Helper()
	status, at, text := r.open(c, r.console.URL+"/console/sign-in/oidc?next="+url.QueryEscape(next))
	require.Equal(r.t, 200, status, text)
	require.Equal(r.t, "/login/username", at.Path, "the provider asks who it is")
	form := url.Values{"username": {"test-user@localhost"}, "password": {"verysecure"}, "id": {at.Query().Get("authRequestID")}}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, at.Scheme+"://"+at.Host+"/login/username", strings.NewReader(form.Encode()))
	require.NoError(r.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.read(c, req)
}

func TestPeopleSignInAtAnIdentityProvider(t *testing.T) {
	t.Parallel()
	r := startSignIn(t)
	for name, c := range map[string]struct {
		claims map[string]any
		next   string
		status int
		path   string
		says   string
	}{
		"a tenant's admin":          {map[string]any{"groups": []string{"staff", "owners"}, "fanmail_tenant": r.tenant.ID.String()}, "/events?type=email.sent", 200, "/console/events", "Test User"},
		"a tenant's viewer":         {map[string]any{"groups": []string{"staff"}, "fanmail_tenant": r.tenant.ID.String()}, "/", 200, "/console/", "Test User"},
		"a viewer of a fixed one":   {map[string]any{"groups": []string{"auditors"}}, "/", 200, "/console/", "Test User"},
		"an operator":               {map[string]any{"groups": []string{"staff", "sre"}, "fanmail_tenant": r.tenant.ID.String()}, "/operator/tenants", 200, "/console/operator/tenants", "other"},
		"one group as text":         {map[string]any{"groups": "sre"}, "/operator/tenants", 200, "/console/operator/tenants", "acme"},
		"no group":                  {nil, "/", 403, console.CallbackPath, "None of your groups has a role here."},
		"another group":             {map[string]any{"groups": []string{"guests"}, "fanmail_tenant": r.tenant.ID.String()}, "/", 403, console.CallbackPath, "None of your groups"},
		"a group without a tenant":  {map[string]any{"groups": []string{"owners"}}, "/", 403, console.CallbackPath, "None of your groups"},
		"a claim that is no tenant": {map[string]any{"groups": []string{"owners"}, "fanmail_tenant": "acme"}, "/", 403, console.CallbackPath, "None of your groups"},
		"a tenant that is not here": {map[string]any{"groups": []string{"owners"}, "fanmail_tenant": events.NewRandom[events.TenantKind]().String()}, "/", 200, "/console/sign-in", "API key"},
		"an elsewhere to go":        {map[string]any{"groups": []string{"sre"}}, "//evil.example/", 200, "/console/operator", "Test User"},
	} {
		r.people.tell(c.claims)
		status, at, text := r.signIn(r.visitor(), c.next)
		require.Equal(t, c.status, status, "%s: %s", name, text)
		require.Equal(t, c.path, at.Path, name)
		require.Contains(t, text, c.says, name)
	}
}

// An answer of the provider counts in the browser that began, once.
func TestAnAnswerOfTheProviderIsOfItsOwnSignIn(t *testing.T) {
	t.Parallel()
	r := startSignIn(t)
	r.people.tell(map[string]any{"groups": []string{"sre"}})
	var callback string
	c := r.visitor()
	c.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if req.URL.Path == console.CallbackPath {
			callback = req.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	r.signIn(c, "/")
	require.NotEmpty(t, callback)
	status, _, text := r.open(r.visitor(), callback)
	require.Equal(t, 403, status, "somebody else's browser")
	require.Contains(t, text, "The sign-in was not completed.")

	other := r.visitor()
	_, _, _ = r.open(other, r.console.URL+"/console/sign-in/oidc")
	status, _, _ = r.open(other, callback)
	require.Equal(t, 403, status, "a browser that has begun another sign-in")

	// RFC 9207: what says that it is another provider's answer is not taken, though the state fits.
	mixed := r.visitor()
	mixed.CheckRedirect = c.CheckRedirect
	first := callback
	r.signIn(mixed, "/")
	require.NotEqual(t, first, callback)
	status, _, text = r.open(mixed, callback+"&iss="+url.QueryEscape("https://evil.example"))
	require.Equal(t, 403, status)
	require.Contains(t, text, "The sign-in was not completed.")
	callback = first

	c.CheckRedirect = nil
	status, at, _ := r.open(c, callback)
	require.Equal(t, 200, status)
	require.Equal(t, "/console/operator", at.Path)
	status, _, _ = r.open(c, callback)
	require.Equal(t, 403, status, "a second time")
}

func TestAProviderThatIsAwayIsAskedAgain(t *testing.T) {
	t.Parallel()
	r := startSignIn(t)
	r.people.tell(map[string]any{"groups": []string{"sre"}})
	r.away.Store(true)
	status, _, text := r.open(r.visitor(), r.console.URL+"/console/sign-in/oidc")
	require.Equal(t, 503, status)
	require.Contains(t, text, "The identity provider can&#39;t be reached.")
	require.Contains(t, text, "API key")
	r.away.Store(false)
	status, at, _ := r.signIn(r.visitor(), "/")
	require.Equal(t, 200, status)
	require.Equal(t, "/console/operator", at.Path)
}
