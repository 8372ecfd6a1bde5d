package browser_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
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
)

// members is the provider's storage; everybody is a member of the group staff.
type members struct{ *storage.Storage }

// SetUserinfoFromToken adds the group to what the provider tells.
func (m members) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	info.AppendClaims("groups", []string{"staff"})
	return m.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
}

// TestPeopleSignInAtTheirOrganisation goes through the pages of an OpenID provider, which is another site, and back.
func TestPeopleSignInAtTheirOrganisation(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme Robotics")
	f.note("Order 1815")
	f.newest()
	var tenant events.TenantID
	require.NoError(t, tenant.UnmarshalText([]byte(f.id)))
	var provider, pages http.Handler
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	t.Cleanup(issuer.Close)
	at := strings.Replace(issuer.URL, "127.0.0.1", "localhost", 1)
	provider = exampleop.SetupServer(at, members{storage.NewStorage(storage.NewUserStore(at))}, slog.New(slog.DiscardHandler), false, op.WithAllowInsecure())
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pages.ServeHTTP(w, r) }))
	t.Cleanup(served.Close)
	storage.RegisterClients(storage.WebClient("fanmail", "a-client-secret", served.URL+console.CallbackPath))
	client, err := openid.New(openid.Config{
		Issuer: at, ClientID: "fanmail", ClientSecret: "a-client-secret", Redirect: served.URL + console.CallbackPath, Scopes: []string{"profile", "email"},
		Roles: []openid.Role{{Group: "staff", Name: openid.Viewer, TenantID: tenant}}, GroupsClaim: "groups", TenantClaim: "fanmail_tenant",
	})
	require.NoError(t, err)
	h, err := api.NewHandler(api.Options{Pool: f.sys.pool})
	require.NoError(t, err)
	pages, err = console.New(console.Options{API: h, Pool: f.sys.pool, OpenID: client})
	require.NoError(t, err)

	b := newTab(t, served.URL, look{})
	b.rec.allowOrigin(at)
	b.rec.allow(at + "/favicon.ico") // the provider has none
	b.open(consolePath + "/events")
	b.at(consolePath + "/sign-in")
	b.reads(b.path())
	b.press("Sign in with your organisation")
	b.at("/login/username")
	b.fill("Username:", "test-user@localhost")
	b.fill("Password:", "verysecure")
	b.press("Login")
	b.at(consolePath + "/events") // where the reader wanted to go
	require.Equal(t, served.URL, eval[string](b, "location.origin"))
	b.shows("Test User", "Order 1815")
	b.open(consolePath + "/webhooks")
	b.lacks("New webhook") // viewers change nothing
	b.press("Sign out")
	b.at(consolePath + "/sign-in")
	b.open(consolePath + "/events")
	b.at(consolePath + "/sign-in")
}
