package erasure_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestTheErasureOfATenantIsLookedUp has a tenant with a year of erasures, beside others', and many tenants.
func TestTheErasureOfATenantIsLookedUp(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	rec := pgplan.Open(t, url)
	r := &rig{t: t, pool: pgtest.Open(t, url)}
	tenant := r.tenant()
	r.exec(`INSERT INTO fanmail.tenants (id, name) SELECT gen_random_uuid(), 'other' FROM generate_series(1, 5000)`)
	r.exec(`INSERT INTO fanmail.erasures (id, tenant_id, kind, requested_by, phase, finished_at) SELECT gen_random_uuid(), $1, 'address', 'key', 'completed', now() FROM generate_series(1, 5000)`, tenant)
	r.exec(`INSERT INTO fanmail.erasures (id, tenant_id, kind, requested_by, address) SELECT gen_random_uuid(), $1, 'address', 'key', 'a@b.example' FROM generate_series(1, 999)`, tenant)
	r.exec(`INSERT INTO fanmail.erasures (id, tenant_id, kind, requested_by, begins_at) SELECT gen_random_uuid(), id, 'tenant', 'key', now() FROM fanmail.tenants WHERE name = 'other' LIMIT 2000`)
	_, err := erasure.OfTenant(ctx, r.pool, tenant, time.Hour, "key_operator")
	require.NoError(t, err)
	r.exec(`ANALYZE`)
	_, err = erasure.OfTenantNow(ctx, rec.Pool, tenant)
	require.NoError(t, err)
	require.NoError(t, tenancy.CheckInUse(ctx, rec.Pool, tenant))
	require.NoError(t, pgx.BeginFunc(ctx, rec.Pool, func(tx pgx.Tx) error {
		if err := tenancy.InUse(ctx, tx, tenant); err != nil {
			return err
		}
		_, err := tenancy.Hold(ctx, tx, tenant)
		return err
	}))
	_, err = erasure.Cancel(ctx, rec.Pool, tenant)
	require.NoError(t, err)
	for text, index := range map[string]string{
		"AND kind = 'tenant' AND finished_at IS NULL":                  "erasures_now",
		"SET phase = 'cancelled'":                                      "erasures_now",
		"SELECT deleted_at FROM fanmail.tenants WHERE id = $1":         "tenants_pkey",
		"SELECT deleted_at FROM fanmail.tenants WHERE id = $1 FOR SHA": "tenants_pkey",
		"SELECT id FROM fanmail.tenants WHERE id = $1 FOR UPDATE":      "tenants_pkey",
	} {
		rec.Of(t, text).Within(t, pgplan.Bound{Indexes: []string{index}, Rows: 2, Blocks: 30})
	}
}

// TestMailsToSearchAreReadAPageAtATime has many items of the erasure that are searched, and many that are not.
func TestMailsToSearchAreReadAPageAtATime(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	rec := pgplan.Open(t, url)
	r := &rig{t: t, pool: pgtest.Open(t, url)}
	tenant := r.tenant()
	mine, other := r.ofAddress(tenant, ann), r.ofAddress(tenant, "carl@other.example")
	for _, e := range []events.ErasureID{mine.ID, other.ID} {
		for _, kind := range []string{"event", "miss", "unsure", "hit"} {
			r.exec(`INSERT INTO fanmail.erased_items (erasure_id, id, kind, created_at, message_id, lacks) SELECT $1, gen_random_uuid(), $2, now(), gen_random_uuid(), '{to}' FROM generate_series(1, 3000)`, e, kind)
		}
	}
	r.exec(`UPDATE fanmail.erasures SET phase = 'hits' WHERE id = $1`, mine.ID)
	r.exec(`UPDATE fanmail.erasures SET due_at = now() + interval '1 h' WHERE id = $1`, other.ID)
	r.exec(`ANALYZE`)
	require.NoError(t, erasure.New(rec.Pool, erasure.Options{Rows: true}).Round(ctx))
	require.Equal(t, 151, rec.Runs("AND kind IN ('unsure', 'hit')"))
	rec.Of(t, "AND kind IN ('unsure', 'hit')").Within(t, pgplan.Bound{Indexes: []string{"erased_items_searched"}, Rows: 20, Blocks: 3000})
}

// TestRowsOfATenantAreLookedUpInEachTable has some rows of a tenant among those of many others. These tables are small, so
// that the planner must be kept from reading them from end to end: each statement must have an index to go by.
func TestRowsOfATenantAreLookedUpInEachTable(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.URL(t)
	rec := pgplan.Open(t, url)
	r := &rig{t: t, pool: pgtest.Open(t, url)}
	tenant := r.tenant()
	b := &pgx.Batch{}
	for n := range 100 {
		of, name := tenant, fmt.Sprint("other", n)
		if n > 0 {
			of = r.tenant()
		}
		for _, sql := range rowsOfTenant {
			b.Queue(sql, of, name)
		}
		b.Queue(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) VALUES (gen_random_uuid(), $1, 'https://example.com', '{*}', '')`, of)
		b.Queue(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at) VALUES ($1, $2, gen_random_uuid(), now())`, of, n)
		b.Queue(`INSERT INTO fanmail.alert_mails (webhook_id, tenant_id) VALUES (gen_random_uuid(), $1)`, of)
	}
	require.NoError(t, r.pool.SendBatch(ctx, b).Close())
	r.exec(`ANALYZE`)
	_, err := rec.Pool.Exec(ctx, `SET enable_seqscan = off`)
	require.NoError(t, err)
	for _, table := range tables() {
		rec.Reset()
		require.NoError(t, pgx.BeginFunc(ctx, rec.Pool, func(tx pgx.Tx) error { _, err := table.Delete(ctx, tx, tenant, 2000); return err }), table.Table)
		p := rec.Of(t, strings.TrimSpace(table.Statement)[:20])
		if table.Table == "operational_events" {
			continue // a queue, which is empty within a second
		}
		require.Empty(t, p.Scanned(), "%s\n%s", table.Table, p)
		require.LessOrEqual(t, p.Rows(), 6, "%s\n%s", table.Table, p)
	}
}
