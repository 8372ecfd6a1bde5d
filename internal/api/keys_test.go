package api_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

func TestWithoutAKeyThereIsNothingToSee(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for name, header := range map[string]string{
		"none": "", "another scheme": "Basic " + c.key, "no secret": "Bearer ", "a wrong secret": "Bearer fm_wrong", "the hash": "Bearer " + string(hashHex(c.key)),
	} {
		a := client{w: w}.do("GET", "/v1/webhooks", nil, "Authorization", header).want(t, 401)
		require.Contains(t, a.header.Get("WWW-Authenticate"), "Bearer", name)
	}
	c.do("GET", "/v1/webhooks", nil, "Authorization", "bearer "+c.key).want(t, 200)
}

func hashHex(s string) []byte {
	const digits = "0123456789abcdef"
	sum := sha256.Sum256([]byte(s))
	var out []byte
	for _, b := range sum {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return out
}

func TestAKeysSecretIsShownOnceAndKeptAsAHash(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	made := c.do("POST", "/v1/keys", map[string]any{"name": "second", "scopes": []string{"read"}}).want(t, 201)
	secret := made.text("secret")
	require.True(t, strings.HasPrefix(secret, tenancy.KeyPrefix))
	require.Len(t, secret, len(tenancy.KeyPrefix)+43)
	require.Equal(t, c.tenantID, made.text("tenant_id"))
	require.Equal(t, []any{"read"}, made.json["scopes"])

	for _, key := range []client{c, w.operator} {
		listed := key.do("GET", "/v1/keys", nil).want(t, 200)
		require.Contains(t, listed.ids(t, "id"), made.text("id"))
		require.NotContains(t, string(listed.raw), "secret")
		require.NotContains(t, string(listed.raw), secret)
	}
	var kept []byte
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT secret_hash FROM fanmail.api_keys WHERE id = $1`, id[events.APIKeyKind](t, made.text("id"))).Scan(&kept))
	sum := sha256.Sum256([]byte(secret))
	require.Equal(t, sum[:], kept)

	// A tenant sees its own keys; an operator sees all keys, or those of one tenant.
	require.Len(t, c.do("GET", "/v1/keys", nil).ids(t, "id"), 2)
	require.Len(t, w.operator.do("GET", "/v1/keys", nil).ids(t, "id"), 3)
	require.Len(t, w.operator.do("GET", "/v1/keys?tenant_id="+c.tenantID, nil).ids(t, "id"), 2)

	second := client{w: w, key: secret}
	second.do("GET", "/v1/webhooks", nil).want(t, 200)
	c.do("DELETE", "/v1/keys/"+made.text("id"), nil).want(t, 204)
	second.do("GET", "/v1/webhooks", nil).want(t, 401)
	c.do("DELETE", "/v1/keys/"+made.text("id"), nil).want(t, 404)
	require.NotContains(t, c.do("GET", "/v1/keys", nil).ids(t, "id"), made.text("id"))
}

func id[K events.Kind](t *testing.T, s string) events.Key[K] {
	t.Helper()
	k, err := events.Parse[K](s)
	require.NoError(t, err)
	return k
}

func TestEachKindOfKeyHasItsRoutes(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.do("POST", "/v1/tenants", map[string]any{"name": "x"}).want(t, 403)
	c.do("GET", "/v1/tenants", nil).want(t, 403)
	w.operator.do("GET", "/v1/webhooks", nil).want(t, 403)
	w.operator.do("POST", "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{}}).want(t, 403)
	require.Equal(t, []string{c.tenantID}, w.operator.do("GET", "/v1/tenants", nil).want(t, 200).ids(t, "id"))

	// An operator creates keys of operators. An unknown tenant is an error.
	another := w.operator.do("POST", "/v1/keys", map[string]any{}).want(t, 201)
	require.Nil(t, another.json["tenant_id"])
	client{w: w, key: another.text("secret")}.do("GET", "/v1/tenants", nil).want(t, 200)
	nobody := events.NewRandom[events.TenantKind]().String()
	w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": nobody}).want(t, 422).names(t, "body.tenant_id")
	w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": "ten_x"}).want(t, 422).names(t, "body.tenant_id")
	w.operator.do("POST", "/v1/tenants", map[string]any{"name": " "}).want(t, 422).names(t, "body.name")
	w.operator.do("POST", "/v1/tenants", map[string]any{"name": strings.Repeat("n", 201)}).want(t, 422).names(t, "body.name")
	w.operator.do("POST", "/v1/keys", map[string]any{"name": "a\x00b"}).want(t, 422).names(t, "body.name")
}

func TestTheScopesOfAKeyAreRoles(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	scoped := func(scopes ...string) client {
		return client{w: w, key: c.do("POST", "/v1/keys", map[string]any{"scopes": scopes}).want(t, 201).text("secret")}
	}
	read, write, admin := scoped("read"), scoped("write"), scoped("admin")
	hook := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
	read.do("GET", "/v1/webhooks", nil).want(t, 200)
	read.do("POST", "/v1/webhooks", hook).want(t, 403)
	write.do("GET", "/v1/webhooks", nil).want(t, 200)
	id := write.do("POST", "/v1/webhooks", hook).want(t, 201).text("id")
	read.do("DELETE", "/v1/webhooks/"+id, nil).want(t, 403)
	read.do("POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}).want(t, 403)

	// Only administrators create, rotate and revoke keys, so that no key makes one with more rights than its own.
	write.do("POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}).want(t, 403)
	write.do("GET", "/v1/keys", nil).want(t, 200)
	key := admin.do("POST", "/v1/keys", map[string]any{"scopes": []string{"send-only", "read", "read"}}).want(t, 201)
	require.Equal(t, []any{"read", "send-only"}, key.json["scopes"])
	write.do("POST", "/v1/keys/"+key.text("id")+"/rotate", nil).want(t, 403)
	write.do("DELETE", "/v1/keys/"+key.text("id"), nil).want(t, 403)
	c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"owner"}}).want(t, 422).names(t, "body.scopes[0]")
	w.operator.do("POST", "/v1/keys", map[string]any{"scopes": []string{"send-only"}}).want(t, 422).names(t, "body.scopes")
	require.Equal(t, []any{"admin"}, c.do("POST", "/v1/keys", map[string]any{}).want(t, 201).json["scopes"])
}

func TestTheUseOfAKeyIsNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	read := func() (at time.Time) {
		sum := sha256.Sum256([]byte(c.key))
		require.NoError(t, w.pool.QueryRow(ctx, `SELECT last_used_at FROM fanmail.api_keys WHERE secret_hash = $1`, sum[:]).Scan(&at))
		return at
	}
	c.do("GET", "/v1/webhooks", nil).want(t, 200)
	first := read()
	c.do("GET", "/v1/webhooks", nil).want(t, 200)
	require.Equal(t, first, read())
	_, err := w.pool.Exec(ctx, `UPDATE fanmail.api_keys SET last_used_at = last_used_at - interval '61 seconds'`)
	require.NoError(t, err)
	c.do("GET", "/v1/webhooks", nil).want(t, 200)
	require.True(t, read().After(first.Add(-time.Second)))
}
