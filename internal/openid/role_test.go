package openid

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestARoleIsReadAndABadOneRefused(t *testing.T) {
	t.Parallel()
	tenant := events.NewRandom[events.TenantKind]()
	for text, want := range map[string]Role{
		"sre=operator":                            {Group: "sre", Name: Operator},
		"cn=staff,dc=example=viewer":              {Group: "cn=staff,dc=example", Name: Viewer},
		" owners = admin:" + tenant.String():      {Group: "owners", Name: Admin, TenantID: tenant},
		"/team/support=viewer:" + tenant.String(): {Group: "/team/support", Name: Viewer, TenantID: tenant},
	} {
		got, err := ParseRole(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "sre", "=admin", "sre=root", "sre=operator:" + tenant.String(), "sre=admin:acme", "sre=admin:"} {
		_, err := ParseRole(text)
		require.Error(t, err, text)
	}
}

func TestThePersonHasTheHighestRole(t *testing.T) {
	t.Parallel()
	mine, fixed := events.NewRandom[events.TenantKind](), events.NewRandom[events.TenantKind]()
	roles := []Role{{Group: "staff", Name: Viewer}, {Group: "auditors", Name: Viewer, TenantID: fixed}, {Group: "owners", Name: Admin}, {Group: "sre", Name: Operator}}
	got, ok := choose(roles, []string{"sre", "staff"}, mine)
	require.True(t, ok)
	require.Equal(t, Role{Group: "sre", Name: Operator}, got)
	got, _ = choose(roles, []string{"owners", "staff"}, mine)
	require.Equal(t, Role{Group: "owners", Name: Admin, TenantID: mine}, got)
	got, _ = choose(roles, []string{"auditors", "owners"}, events.TenantID{})
	require.Equal(t, Role{Group: "auditors", Name: Viewer, TenantID: fixed}, got)
	// Without a tenant, an admin would have the zero tenant, which is the operators'.
	_, ok = choose(roles, []string{"owners", "staff"}, events.TenantID{})
	require.False(t, ok)
	_, ok = choose(roles, nil, mine)
	require.False(t, ok)
}

func TestAProviderIsReachedByHTTPS(t *testing.T) {
	t.Parallel()
	c := Config{ClientID: "fanmail", Redirect: "https://fanmail.example/console", Roles: []Role{{Group: "sre", Name: Operator}}}
	for issuer, ok := range map[string]bool{
		"https://id.example": true, "http://localhost:5556/dex": true, "http://127.0.0.1:1": true,
		"http://id.example": false, "id.example": false, "": false, "https://": false, "ftp://localhost": false,
	} {
		c.Issuer = issuer
		_, err := New(c)
		require.Equal(t, ok, err == nil, "%s: %v", issuer, err)
	}
}
