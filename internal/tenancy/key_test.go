package tenancy_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func newKey(t *testing.T, db tenancy.DB, k tenancy.NewKey) (tenancy.Key, string) {
	t.Helper()
	made, secret, err := tenancy.CreateKey(t.Context(), db, k)
	require.NoError(t, err)
	return made, secret
}

// requireNoSecret requires that a text holds neither a secret nor its hash.
func requireNoSecret(t *testing.T, secret, text string) {
	t.Helper()
	sum := sha256.Sum256([]byte(secret))
	random := strings.TrimPrefix(secret, tenancy.KeyPrefix)
	for _, kept := range []string{random, hex.EncodeToString(sum[:]), fmt.Sprint(sum)} {
		require.NotContains(t, text, kept)
	}
}

func TestAKeysSecretIsReturnedOnceAndStoredAsAHash(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme")
	key, secret := newKey(t, pool, tenancy.NewKey{TenantID: tenant.ID, Name: "ci"})
	require.Regexp(t, `^fm_[A-Za-z0-9_-]{43}$`, secret)
	require.Equal(t, tenant.ID, *key.TenantID)
	require.Equal(t, "ci", key.Name)
	require.Equal(t, time.UTC, key.CreatedAt.Location())
	require.Nil(t, key.LastUsedAt)
	require.Nil(t, key.RateLimit)
	_, another := newKey(t, pool, tenancy.NewKey{TenantID: tenant.ID, Name: "ci"})
	require.NotEqual(t, secret, another, "two keys of one name have secrets of their own")

	var hash []byte
	require.NoError(t, pool.QueryRow(ctx, `SELECT secret_hash FROM fanmail.api_keys WHERE id = $1`, key.ID).Scan(&hash))
	sum := sha256.Sum256([]byte(secret))
	require.Equal(t, sum[:], hash)
	var row string
	require.NoError(t, pool.QueryRow(ctx, `SELECT k::text FROM fanmail.api_keys AS k WHERE id = $1`, key.ID).Scan(&row))
	require.NotContains(t, row, strings.TrimPrefix(secret, tenancy.KeyPrefix))

	principal, err := tenancy.Authenticate(ctx, pool, secret)
	require.NoError(t, err)
	listed, err := tenancy.ListKeys(ctx, pool, tenant.ID, after(time.Time{}, events.APIKeyID{}), 10)
	require.NoError(t, err)
	for _, v := range []any{key, principal, listed} {
		asJSON, err := json.Marshal(v)
		require.NoError(t, err)
		requireNoSecret(t, secret, fmt.Sprintf("%s %+v", asJSON, v))
	}
}

func TestOnlyTheSecretItselfAuthenticates(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme")
	key, secret := newKey(t, pool, tenancy.NewKey{TenantID: tenant.ID})
	sum := sha256.Sum256([]byte(secret))
	for name, wrong := range map[string]string{
		"nothing": "", "the prefix": tenancy.KeyPrefix, "another secret": tenancy.KeyPrefix + strings.Repeat("A", 43),
		"the hash": string(sum[:]), "the hash in hex": hex.EncodeToString(sum[:]), "the id": key.ID.String(),
		"upper case": strings.ToUpper(secret), "a space after it": secret + " ", "without the prefix": strings.TrimPrefix(secret, tenancy.KeyPrefix),
		"cut": secret[:len(secret)-1], "a NUL byte": secret + "\x00", "not UTF-8": "fm_\xff", "very long": strings.Repeat(secret, 10_000), "a pattern": "fm_%",
	} {
		p, err := tenancy.Authenticate(ctx, pool, wrong)
		require.ErrorIs(t, err, tenancy.ErrUnauthenticated, name)
		require.Zero(t, p, name)
	}
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM fanmail.api_keys WHERE last_used_at IS NULL`), "none of them was a use")
	p, err := tenancy.Authenticate(ctx, pool, secret)
	require.NoError(t, err)
	require.Equal(t, key.ID, p.KeyID)
	require.Equal(t, tenant.ID, p.TenantID)
	require.Equal(t, tenancy.TenantCaller, p.Kind)
	require.Equal(t, tenancy.RoleAdmin.Rights(), p.Rights)
	require.False(t, p.Operator())
}

func TestARevokedKeyAuthenticatesNobody(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme")
	key, secret := newKey(t, pool, tenancy.NewKey{TenantID: tenant.ID})
	other, kept := newKey(t, pool, tenancy.NewKey{TenantID: tenant.ID})
	works := func(secret string) {
		t.Helper()
		_, err := tenancy.Authenticate(ctx, pool, secret)
		require.NoError(t, err)
	}
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	works(secret)
	require.NoError(t, tenancy.RevokeKey(ctx, tx, tenant.ID, key.ID))
	works(secret)
	require.NoError(t, tx.Commit(ctx))
	_, err = tenancy.Authenticate(ctx, pool, secret)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "from the commit on")
	works(kept)

	for _, of := range []events.TenantID{tenant.ID, {}} {
		require.ErrorIs(t, tenancy.RevokeKey(ctx, pool, of, key.ID), tenancy.ErrNoKey, "it is revoked already")
		require.ErrorIs(t, tenancy.RevokeKey(ctx, pool, of, events.NewRandom[events.APIKeyKind]()), tenancy.ErrNoKey)
		found, err := tenancy.ListKeys(ctx, pool, of, after(time.Time{}, events.APIKeyID{}), 10)
		require.NoError(t, err)
		require.Equal(t, []events.APIKeyID{other.ID}, ids(found), "a revoked key is not listed")
	}
}

func TestATenantNeitherSeesNorRevokesTheKeysOfOthers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	one, two := newTenant(t, pool, "one").ID, newTenant(t, pool, "two").ID
	ofOne, secretOne := newKey(t, pool, tenancy.NewKey{TenantID: one})
	ofTwo, secretTwo := newKey(t, pool, tenancy.NewKey{TenantID: two})
	secret, err := tenancy.BootstrapOperatorKey(ctx, pool)
	require.NoError(t, err)
	operator, err := tenancy.Authenticate(ctx, pool, secret)
	require.NoError(t, err)
	require.True(t, operator.Operator())
	require.True(t, operator.May(tenancy.Read))
	require.True(t, operator.May(tenancy.Administer))

	listed := func(of events.TenantID) []events.APIKeyID {
		t.Helper()
		found, err := tenancy.ListKeys(ctx, pool, of, after(time.Time{}, events.APIKeyID{}), 10)
		require.NoError(t, err)
		return ids(found)
	}
	require.Equal(t, []events.APIKeyID{ofOne.ID}, listed(one))
	require.Equal(t, []events.APIKeyID{ofTwo.ID}, listed(two))
	require.Equal(t, []events.APIKeyID{operator.KeyID, ofTwo.ID, ofOne.ID}, listed(events.TenantID{}), "an operator sees all")
	require.Empty(t, listed(events.NewRandom[events.TenantKind]()))

	require.ErrorIs(t, tenancy.RevokeKey(ctx, pool, one, ofTwo.ID), tenancy.ErrNoKey)
	require.ErrorIs(t, tenancy.RevokeKey(ctx, pool, one, operator.KeyID), tenancy.ErrNoKey)
	for _, s := range []string{secretOne, secretTwo, secret} {
		_, err := tenancy.Authenticate(ctx, pool, s)
		require.NoError(t, err, "nothing was revoked")
	}
	require.NoError(t, tenancy.RevokeKey(ctx, pool, events.TenantID{}, ofTwo.ID), "an operator revokes any key")
	_, err = tenancy.Authenticate(ctx, pool, secretTwo)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
}

func TestScopesAreStoredOnceAndBoundTheKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme").ID
	for name, c := range map[string]struct {
		given, kept []tenancy.Role
		rights      tenancy.Rights
	}{
		"none":      {nil, []tenancy.Role{"admin"}, tenancy.Read | tenancy.Send | tenancy.Redeliver | tenancy.Change | tenancy.Administer | tenancy.Consume},
		"read":      {[]tenancy.Role{"read"}, []tenancy.Role{"read"}, tenancy.Read},
		"write":     {[]tenancy.Role{"write"}, []tenancy.Role{"write"}, tenancy.Read | tenancy.Send | tenancy.Redeliver | tenancy.Change | tenancy.Consume},
		"replay":    {[]tenancy.Role{"replay"}, []tenancy.Role{"replay"}, tenancy.Read | tenancy.Redeliver},
		"send-only": {[]tenancy.Role{"send-only"}, []tenancy.Role{"send-only"}, tenancy.Send},
		"consume":   {[]tenancy.Role{"consume"}, []tenancy.Role{"consume"}, tenancy.Consume},
		"twice":     {[]tenancy.Role{"send-only", "read", "send-only"}, []tenancy.Role{"read", "send-only"}, tenancy.Read | tenancy.Send},
	} {
		given := append([]tenancy.Role(nil), c.given...)
		key, secret := newKey(t, pool, tenancy.NewKey{TenantID: tenant, Scopes: given})
		require.Equal(t, c.given, given, "the caller's slice stays as it was")
		require.Equal(t, c.kept, key.Scopes, name)
		p, err := tenancy.Authenticate(ctx, pool, secret)
		require.NoError(t, err)
		require.Equal(t, c.rights, p.Rights, name)
	}
}

func TestABadKeyIsRefusedAndNothingIsStored(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool, "acme").ID
	refused := func(k tenancy.NewKey, field, reason string) {
		t.Helper()
		key, secret, err := tenancy.CreateKey(t.Context(), pool, k)
		requireRefused(t, err, field, reason)
		require.Zero(t, key)
		require.Empty(t, secret)
	}
	for name, reason := range badNames {
		refused(tenancy.NewKey{TenantID: tenant, Name: name}, "name", reason)
	}
	for _, scope := range []tenancy.Role{"owner", "READ", "read ", "", "re\x00ad"} {
		refused(tenancy.NewKey{TenantID: tenant, Scopes: []tenancy.Role{"read", scope}}, "scopes", "the scopes are admin, write, replay, read, send-only, consume")
	}
	refused(tenancy.NewKey{Scopes: []tenancy.Role{"send-only"}}, "scopes", "operators create no events")
	refused(tenancy.NewKey{Scopes: []tenancy.Role{"consume"}}, "scopes", "poll none")
	refused(tenancy.NewKey{TenantID: tenant, ExpiresAt: time.Now().Add(-time.Second)}, "expires_at", "must lie in the future")
	for _, network := range []string{"192.0.2.1/24", "::ffff:192.0.2.0/120"} {
		refused(tenancy.NewKey{TenantID: tenant, Networks: []netip.Prefix{netip.MustParsePrefix(network)}}, "networks[0]", "must be a network")
	}
	refused(tenancy.NewKey{TenantID: tenant, Networks: make([]netip.Prefix, tenancy.MaxNetworks+1)}, "networks", "the limit is 32")
	for _, limit := range []int{-1, tenancy.MaxRateLimit + 1} {
		refused(tenancy.NewKey{TenantID: tenant, RateLimit: limit}, "rate_limit", "must be from 1 to 100000")
	}
	refused(tenancy.NewKey{TenantID: events.NewRandom[events.TenantKind]()}, "tenant_id", "names no tenant")
	require.Zero(t, number(t, pool, `SELECT count(*) FROM fanmail.api_keys`))
}

func TestAKeysOwnRateLimitIsKept(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	for _, limit := range []int{1, tenancy.MaxRateLimit} {
		key, secret := newKey(t, pool, tenancy.NewKey{RateLimit: limit})
		require.Equal(t, limit, *key.RateLimit)
		p, err := tenancy.Authenticate(ctx, pool, secret)
		require.NoError(t, err)
		require.Equal(t, limit, p.RateLimit)
	}
	key, secret := newKey(t, pool, tenancy.NewKey{})
	require.Nil(t, key.RateLimit)
	require.Nil(t, key.TenantID)
	p, err := tenancy.Authenticate(ctx, pool, secret)
	require.NoError(t, err)
	require.Zero(t, p.RateLimit)
}

// TestTheLastUseIsWrittenOnceAMinute counts the versions of the key's row.
func TestTheLastUseIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	_, secret := newKey(t, pool, tenancy.NewKey{})
	_, unused := newKey(t, pool, tenancy.NewKey{})
	use := func() (version string) {
		t.Helper()
		_, err := tenancy.Authenticate(ctx, pool, secret)
		require.NoError(t, err)
		require.NoError(t, pool.QueryRow(ctx, `SELECT xmin::text FROM fanmail.api_keys WHERE last_used_at IS NOT NULL`).Scan(&version))
		return version
	}
	lastUsed := func() *time.Time {
		t.Helper()
		found, err := tenancy.ListKeys(ctx, pool, events.TenantID{}, after(time.Time{}, events.APIKeyID{}), 10)
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.Nil(t, found[0].LastUsedAt, "the other key was never used")
		return found[1].LastUsedAt
	}
	require.Nil(t, lastUsed())
	first := use()
	used := lastUsed()
	require.Equal(t, time.UTC, used.Location())
	require.Equal(t, first, use(), "a second use within a minute writes nothing")
	require.Equal(t, used, lastUsed())

	_, err := pool.Exec(ctx, `UPDATE fanmail.api_keys SET last_used_at = last_used_at - interval '61 seconds'`)
	require.NoError(t, err)
	// Many requests at once, of which one writes.
	_, err = pool.Exec(ctx, `CREATE TABLE public.writes (at timestamptz);
		CREATE FUNCTION public.write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.writes VALUES (now()); RETURN NULL; END';
		CREATE TRIGGER write AFTER UPDATE ON fanmail.api_keys FOR EACH ROW EXECUTE FUNCTION public.write()`)
	require.NoError(t, err)
	var all sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		all.Go(func() { _, errs[i] = tenancy.Authenticate(ctx, pool, secret) })
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM public.writes`))
	require.False(t, lastUsed().Before(*used))
	_, err = tenancy.Authenticate(ctx, pool, unused)
	require.NoError(t, err)
}

// TestAnErrorOfTheDatabaseHoldsNoSecret breaks the table, so that each statement
// fails.
func TestAnErrorOfTheDatabaseHoldsNoSecret(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	_, secret := newKey(t, pool, tenancy.NewKey{})
	_, err := pool.Exec(ctx, `ALTER TABLE fanmail.api_keys ADD CONSTRAINT refuse CHECK (last_used_at IS NULL AND name <> 'refused')`)
	require.NoError(t, err)
	_, err = tenancy.Authenticate(ctx, pool, secret)
	require.ErrorContains(t, err, "record a key's use: ")
	require.NotErrorIs(t, err, tenancy.ErrUnauthenticated)
	requireNoSecret(t, secret, fmt.Sprintf("%v %+v", err, err))
	key, none, err := tenancy.CreateKey(ctx, pool, tenancy.NewKey{Name: "refused"})
	require.ErrorContains(t, err, "insert a key: ")
	require.Zero(t, key)
	require.Empty(t, none)

	_, err = pool.Exec(ctx, `ALTER TABLE fanmail.api_keys RENAME TO gone`)
	require.NoError(t, err)
	_, err = tenancy.Authenticate(ctx, pool, secret)
	require.ErrorContains(t, err, "look up a key: ")
	require.NotErrorIs(t, err, tenancy.ErrUnauthenticated, "a failing database is not a wrong secret")
	requireNoSecret(t, secret, fmt.Sprintf("%v %+v", err, err))
}

// A busy installation revokes few of its keys: finding them reads no others.
func TestExpiryReadsRevokedKeysAlone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.api_keys (id, secret_hash, revoked_at)
		SELECT gen_random_uuid(), decode(md5(n::text), 'hex'), CASE WHEN n % 1000 = 0 THEN now() - interval '31 days' WHEN n % 100 = 0 THEN now() END
		FROM generate_series(1, 20000) AS n`)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `ANALYZE fanmail.api_keys`)
	require.NoError(t, err)
	rows, err := pool.Query(ctx, "EXPLAIN "+tenancy.DeleteRevoked, tenancy.KeepRevoked.Seconds())
	require.NoError(t, err)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Contains(t, strings.Join(plan, "\n"), "api_keys_revoked")
	require.NotContains(t, strings.Join(plan, "\n"), "Seq Scan")
	gone, err := pool.Exec(ctx, tenancy.DeleteRevoked, tenancy.KeepRevoked.Seconds())
	require.NoError(t, err)
	require.EqualValues(t, 20, gone.RowsAffected())
}
