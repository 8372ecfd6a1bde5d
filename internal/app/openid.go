package app

import (
	"fmt"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/internal/openid"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// OpenID configures the sign-in to the console by OpenID Connect.
type OpenID struct {
	Issuer      string      `name:"oidc-issuer" env:"FANMAIL_OIDC_ISSUER" placeholder:"URL" help:"Identity provider whose people sign in to the console by OpenID Connect. Without it, API keys alone sign in."`
	ClientID    string      `name:"oidc-client-id" env:"FANMAIL_OIDC_CLIENT_ID" placeholder:"ID" help:"Fanmail's client at the identity provider."`
	Secret      secret.Text `name:"oidc-client-secret" env:"FANMAIL_OIDC_CLIENT_SECRET" placeholder:"SECRET" help:"Secret of that client; a public client has none."`
	ConsoleURL  string      `name:"console-url" env:"FANMAIL_CONSOLE_URL" placeholder:"URL" help:"URL of this server in people's browsers, such as https://fanmail.example.com. The identity provider sends people back to it, at /console/sign-in/oidc/callback."`
	Roles       []string    `name:"oidc-roles" env:"FANMAIL_OIDC_ROLES" sep:"," placeholder:"GROUP=ROLE,…" help:"What members of groups may do: GROUP=operator, GROUP=admin or GROUP=viewer; admins and viewers of one tenant: GROUP=admin:TENANT. Without TENANT, the tenant claim names it."`
	GroupsClaim string      `name:"oidc-groups-claim" env:"FANMAIL_OIDC_GROUPS_CLAIM" default:"groups" help:"Claim that lists a person's groups."`
	TenantClaim string      `name:"oidc-tenant-claim" env:"FANMAIL_OIDC_TENANT_CLAIM" default:"fanmail_tenant" help:"Claim that holds the id of a person's tenant."`
	Scopes      []string    `name:"oidc-scopes" env:"FANMAIL_OIDC_SCOPES" sep:"," default:"profile,email" help:"Scopes that are asked for beside openid; some providers tell groups only for a scope of their own."`
}

// client returns nil where no provider is set.
func (o *OpenID) client() (*openid.Client, error) {
	if o.Issuer == "" {
		return nil, nil //nolint:nilnil // no provider is no error
	}
	if o.ClientID == "" {
		return nil, wrong("--oidc-client-id", "FANMAIL_OIDC_CLIENT_ID", "is required with --oidc-issuer")
	}
	if _, err := secret.Text(o.ConsoleURL).URL("http", "https"); err != nil || o.ConsoleURL == "" {
		return nil, wrong("--console-url", "FANMAIL_CONSOLE_URL", "must be a URL such as https://fanmail.example.com")
	}
	if len(o.Roles) == 0 {
		return nil, wrong("--oidc-roles", "FANMAIL_OIDC_ROLES", "is required with --oidc-issuer: without a role nobody may do anything")
	}
	roles := make([]openid.Role, len(o.Roles))
	for i, text := range o.Roles {
		role, err := openid.ParseRole(text)
		if err != nil {
			return nil, wrong("--oidc-roles", "FANMAIL_OIDC_ROLES", err.Error())
		}
		roles[i] = role
	}
	c, err := openid.New(openid.Config{
		Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.Secret, Redirect: strings.TrimRight(o.ConsoleURL, "/") + console.CallbackPath,
		Scopes: o.Scopes, Roles: roles, GroupsClaim: o.GroupsClaim, TenantClaim: o.TenantClaim,
	})
	if err != nil {
		return nil, wrong("--oidc-issuer", "FANMAIL_OIDC_ISSUER", fmt.Sprintf("can't be used: %s", err))
	}
	return c, nil
}

func (o *OpenID) validate() error {
	_, err := o.client()
	return err
}
