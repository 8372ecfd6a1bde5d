package tenancy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestNobodyMayDoAnything(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme").ID
	var nobody tenancy.Principal
	require.False(t, nobody.Operator())
	require.False(t, nobody.May(0))
	require.False(t, nobody.Shows(events.NewRandom[events.WebhookKind]()))
	key, _ := newKey(t, pool, tenancy.NewKey{TenantID: tenant})
	for name, p := range map[string]tenancy.Principal{
		"nobody":                    nobody,
		"no identity":               {Kind: tenancy.OperatorCaller, Rights: tenancy.RoleAdmin.Rights()},
		"two identities":            {Kind: tenancy.TenantCaller, TenantID: tenant, KeyID: key.ID, Subject: "ann", Rights: tenancy.Read},
		"a key as an operator":      {Kind: tenancy.OperatorCaller, KeyID: key.ID, Rights: tenancy.Read},
		"a key of another tenant":   {Kind: tenancy.TenantCaller, TenantID: events.NewRandom[events.TenantKind](), KeyID: key.ID, Rights: tenancy.Read},
		"a member of no tenant":     {Kind: tenancy.TenantCaller, Subject: "ann", Rights: tenancy.Read},
		"a member of all tenants":   {Kind: tenancy.OperatorCaller, TenantID: tenant, Subject: "ann", Rights: tenancy.Read},
		"a member of a gone tenant": {Kind: tenancy.TenantCaller, TenantID: events.NewRandom[events.TenantKind](), Subject: "ann", Rights: tenancy.Read},
		"a subject as a portal":     {Kind: tenancy.PortalCaller, TenantID: tenant, Subject: "ann", Rights: tenancy.Read},
	} {
		p.Rights |= tenancy.Read
		got, err := tenancy.Confirm(t.Context(), pool, p)
		require.ErrorIs(t, err, tenancy.ErrUnauthenticated, name)
		require.Zero(t, got, name)
	}
}

func TestAConfirmedPrincipalHasNeverMoreRights(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme").ID
	key, secret := newKey(t, pool, tenancy.NewKey{TenantID: tenant, Name: "reader", Scopes: []tenancy.Role{tenancy.RoleReplay}})
	p, err := tenancy.Identify(t.Context(), pool, key.ID)
	require.NoError(t, err)
	require.Equal(t, tenancy.Read|tenancy.Redeliver, p.Rights)
	require.Equal(t, "reader", p.Actor)

	p.Rights = tenancy.RoleAdmin.Rights()
	p, err = tenancy.Confirm(t.Context(), pool, p)
	require.NoError(t, err)
	require.Equal(t, tenancy.Read|tenancy.Redeliver, p.Rights, "the key's rights")
	p.Rights = tenancy.Read
	p, err = tenancy.Confirm(t.Context(), pool, p)
	require.NoError(t, err)
	require.Equal(t, tenancy.Read, p.Rights, "what was given up stays given up")

	require.NoError(t, tenancy.SetQuota(t.Context(), pool, tenant, tenancy.Quota{Webhooks: 7}))
	member, err := tenancy.OfSubject(t.Context(), pool, "ann", "ann@example.com", false, tenant, tenancy.RoleRead)
	require.NoError(t, err)
	require.Equal(t, int64(7), member.Quota.Webhooks)
	require.Equal(t, tenancy.Read, member.Rights)
	_, err = tenancy.OfSubject(t.Context(), pool, "ann", "ann@example.com", false, events.TenantID{}, tenancy.RoleAdmin)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "no tenant is not all tenants")

	authenticated, err := tenancy.Authenticate(t.Context(), pool, secret)
	require.NoError(t, err)
	require.NoError(t, tenancy.RevokeKey(t.Context(), pool, tenant, key.ID))
	_, err = tenancy.Confirm(t.Context(), pool, p)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	for _, p := range []tenancy.Principal{p, authenticated} {
		ok, err := tenancy.Valid(t.Context(), pool, &p)
		require.NoError(t, err)
		require.False(t, ok)
	}
}

func TestAKeyIsRotatedWithAnOverlap(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme").ID
	key, first := newKey(t, pool, tenancy.NewKey{TenantID: tenant, Scopes: []tenancy.Role{tenancy.RoleRead}})
	require.Equal(t, first[:len(tenancy.KeyPrefix)+6], *key.Prefix)
	works := func(secret string) bool {
		t.Helper()
		p, err := tenancy.Authenticate(ctx, pool, secret)
		if err == nil {
			require.Equal(t, key.ID, p.KeyID)
			require.Equal(t, tenancy.Read, p.Rights)
			return true
		}
		require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
		return false
	}
	old, err := tenancy.Authenticate(ctx, pool, first)
	require.NoError(t, err)
	session, err := tenancy.Identify(ctx, pool, key.ID)
	require.NoError(t, err)
	require.NoError(t, pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&session.SignedInAt))
	valid := func(p tenancy.Principal) bool {
		t.Helper()
		ok, err := tenancy.Valid(ctx, pool, &p)
		require.NoError(t, err)
		return ok
	}

	rotated, second, err := tenancy.RotateKey(ctx, pool, key.ID, time.Hour)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.Equal(t, second[:len(tenancy.KeyPrefix)+6], *rotated.Prefix)
	require.NotNil(t, rotated.RotatedAt)
	require.Equal(t, time.Hour, rotated.PreviousUntil.Sub(*rotated.RotatedAt))
	require.True(t, works(first))
	require.True(t, works(second))
	require.True(t, valid(old))
	require.True(t, valid(session))

	// What the first secret opened ends with it.
	_, err = pool.Exec(ctx, `UPDATE fanmail.api_keys SET previous_until = now() - interval '1 second' WHERE id = $1`, key.ID)
	require.NoError(t, err)
	require.False(t, works(first))
	require.True(t, works(second))
	require.False(t, valid(old))
	require.False(t, valid(session))

	// A second rotation ends the secret before the previous one; an overlap of nothing
	// ends the previous one.
	_, third, err := tenancy.RotateKey(ctx, pool, key.ID, time.Hour)
	require.NoError(t, err)
	require.True(t, works(second))
	last, fourth, err := tenancy.RotateKey(ctx, pool, key.ID, 0)
	require.NoError(t, err)
	require.Nil(t, last.PreviousUntil)
	require.False(t, works(second))
	require.False(t, works(third))
	require.True(t, works(fourth))
	require.NoError(t, tenancy.RevokeKey(ctx, pool, tenant, key.ID))
	require.False(t, works(fourth))
	_, _, err = tenancy.RotateKey(ctx, pool, key.ID, 0)
	require.ErrorIs(t, err, tenancy.ErrNoKey)
}

func TestAKeyHeldToNetworksComesFromThemAlone(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	key, secret := newKey(t, pool, tenancy.NewKey{Networks: networks})
	require.Equal(t, networks, key.Networks)
	p, err := tenancy.Authenticate(t.Context(), pool, secret)
	require.NoError(t, err)
	for address, want := range map[string]bool{
		"192.0.2.7": true, "::ffff:192.0.2.7": true, "2001:db8::1": true, "192.0.3.1": false, "::1": false,
	} {
		require.Equal(t, want, p.From(netip.MustParseAddr(address)), address)
	}
	require.False(t, p.From(netip.Addr{}), "an unknown address")
	free := tenancy.Principal{Kind: tenancy.TenantCaller}
	require.True(t, free.From(netip.Addr{}))
}
