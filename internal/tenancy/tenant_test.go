package tenancy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// after returns the position of a row; of the zero id, the beginning of a list.
func after[K events.Kind](at time.Time, id events.Key[K]) tenancy.Position {
	if id.IsZero() {
		first, none := pg.Place{}.Bound()
		return tenancy.Position{CreatedAt: first, ID: none}
	}
	return tenancy.Position{CreatedAt: at, ID: id}
}

func newTenant(t *testing.T, db tenancy.DB, name string) tenancy.Tenant {
	t.Helper()
	made, err := tenancy.Create(t.Context(), db, tenancy.NewTenant{Name: name})
	require.NoError(t, err)
	return made
}

func number(t *testing.T, pool *pgxpool.Pool, query string) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(context.Background(), query).Scan(&n))
	return n
}

// badNames are invalid names of tenants and keys, with a part of the error.
var badNames = map[string]string{
	strings.Repeat("n", 201):       "has 201 bytes; the limit is 200",
	strings.Repeat("é", 100) + "n": "has 201 bytes; the limit is 200",
	"two\nlines":                   "control character",
	"a\x00b":                       "control character",
	"del\x7f":                      "control character",
	"next\u0085line":               "control character",
	"acme\xff":                     "not UTF-8",
	"\xed\xa0\x80":                 "not UTF-8",
}

func requireRefused(t *testing.T, err error, field, reason string) {
	t.Helper()
	var refused *events.FieldError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, field, refused.Field)
	require.Contains(t, refused.Reason, reason)
}

func TestATenantIsCreatedAndListed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	first := newTenant(t, pool, "acme")
	second := newTenant(t, pool, "acme")
	require.NotEqual(t, first.ID, second.ID, "a name is for people: two tenants may have the same")
	operator, err := tenancy.Create(ctx, pool, tenancy.NewTenant{Name: strings.Repeat("é", 100), Operator: true})
	require.NoError(t, err)
	require.False(t, first.Operator)
	require.True(t, operator.Operator)
	require.Equal(t, time.UTC, first.CreatedAt.Location())
	found, err := tenancy.List(ctx, pool, after(time.Time{}, events.TenantID{}), 10)
	require.NoError(t, err)
	require.Equal(t, []tenancy.Tenant{operator, second, first}, found, "newest first, as they were created")
}

// TestAListNeitherSkipsNorRepeats reads pages of tenants that one transaction made:
// their creation times are equal.
func TestAListNeitherSkipsNorRepeats(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	var tenants []events.TenantID
	var keys []events.APIKeyID
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for i := range 5 {
			tenants = append(tenants, newTenant(t, tx, fmt.Sprint(i)).ID)
			k, _ := newKey(t, tx, tenancy.NewKey{})
			keys = append(keys, k.ID)
		}
		return nil
	}))
	var seen []events.TenantID
	for at, id := (time.Time{}), (events.TenantID{}); ; {
		page, err := tenancy.List(ctx, pool, after(at, id), 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, v := range page {
			at, id, seen = v.CreatedAt, v.ID, append(seen, v.ID)
		}
	}
	require.Len(t, seen, len(tenants))
	require.ElementsMatch(t, tenants, seen)

	var listed []events.APIKeyID
	for at, id := (time.Time{}), (events.APIKeyID{}); ; {
		page, err := tenancy.ListKeys(ctx, pool, events.TenantID{}, after(at, id), 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, v := range page {
			at, id, listed = v.CreatedAt, v.ID, append(listed, v.ID)
		}
	}
	require.Len(t, listed, len(keys))
	require.ElementsMatch(t, keys, listed)
}

func TestABadNameOfATenantIsRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	bad := map[string]string{"": "is required", " ": "is required", " \t\u00a0\n": "is required"}
	for name, reason := range badNames {
		bad[name] = reason
	}
	for name, reason := range bad {
		_, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: name})
		requireRefused(t, err, "name", reason)
	}
	require.Zero(t, number(t, pool, `SELECT count(*) FROM fanmail.tenants`))
}

// TestALockMakesTheChangesOfOneTenantWaitForEachOther holds a tenant's lock while
// others lock it, lock another tenant, and make a key.
func TestALockMakesTheChangesOfOneTenantWaitForEachOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	one, other := newTenant(t, pool, "one"), newTenant(t, pool, "other")
	holder, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(context.Background()) }()
	require.NoError(t, tenancy.Lock(ctx, holder, one.ID))

	waiter, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = waiter.Rollback(context.Background()) }()
	_, err = waiter.Exec(ctx, `SET LOCAL lock_timeout = '100ms'`)
	require.NoError(t, err)
	require.NoError(t, tenancy.Lock(ctx, waiter, other.ID), "another tenant's lock is free")
	_, _, err = tenancy.CreateKey(ctx, waiter, tenancy.NewKey{TenantID: one.ID})
	require.NoError(t, err, "rows that refer to the tenant do not wait for the lock")
	require.ErrorContains(t, tenancy.Lock(ctx, waiter, one.ID), "lock timeout")
	require.NoError(t, waiter.Rollback(ctx))

	require.NoError(t, holder.Commit(ctx))
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return tenancy.Lock(ctx, tx, one.ID) }))
	require.ErrorIs(t, tenancy.Lock(ctx, pool, events.NewRandom[events.TenantKind]()), pgx.ErrNoRows)
}

func TestOnlyTenantsThatExistAreKnown(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	one, two := newTenant(t, pool, "one").ID, newTenant(t, pool, "two").ID
	newTenant(t, pool, "not asked for")
	b, known, none := &pgx.Batch{}, map[events.TenantID]bool{}, map[events.TenantID]bool{}
	tenancy.QueueKnown(b, []events.TenantID{one, events.NewRandom[events.TenantKind](), two, one}, known)
	tenancy.QueueKnown(b, nil, none)
	require.NoError(t, pool.SendBatch(ctx, b).Close())
	require.Equal(t, map[events.TenantID]bool{one: true, two: true}, known)
	require.Empty(t, none)
}

func TestOperatorsAreSelectedAlone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	newTenant(t, pool, "tenant")
	var want []events.TenantID
	for range 2 {
		o, err := tenancy.Create(ctx, pool, tenancy.NewTenant{Name: "operator", Operator: true})
		require.NoError(t, err)
		want = append(want, o.ID)
	}
	rows, err := pool.Query(ctx, tenancy.SelectOperators)
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[events.TenantID])
	require.NoError(t, err)
	require.ElementsMatch(t, want, got)
}

// ids are the ids of keys.
func ids(keys []tenancy.Key) (out []events.APIKeyID) {
	for i := range keys {
		out = append(out, keys[i].ID)
	}
	return slices.Clip(out)
}
