package audit_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/audit"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func fill(t *testing.T, pool *pgxpool.Pool, tenant events.TenantID, n int, operation string, back time.Duration) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.audit_log (id, created_at, tenant_id, actor_kind, actor_id, actor_name, operation, object)
		SELECT gen_random_uuid(), date_trunc('day', now(), 'UTC') + i * interval '1 microsecond' - make_interval(secs => $4), $1, 'key', 'key_1', 'robot', $3, 'o' || i
		FROM generate_series(1, $2::int) AS i`, tenant, n, operation, back.Seconds())
	require.NoError(t, err)
}

// days creates partitions for the days before today.
func days(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	for i := 1; i <= n; i++ {
		day := time.Now().UTC().AddDate(0, 0, -i).Truncate(24 * time.Hour)
		_, err := pool.Exec(t.Context(), `CREATE TABLE IF NOT EXISTS fanmail.audit_log_`+day.Format("20060102")+` PARTITION OF fanmail.audit_log
			FOR VALUES FROM ('`+day.Format(time.RFC3339)+`') TO ('`+day.AddDate(0, 0, 1).Format(time.RFC3339)+`')`)
		require.NoError(t, err)
	}
}

// TestAListReadsABoundedPartOfEachDay lists entries of a tenant among many others, and of all tenants, with and without a
// filter that little fits.
func TestAListReadsABoundedPartOfEachDay(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	days(t, pool, 3)
	one, other := events.NewRandom[events.TenantKind](), events.NewRandom[events.TenantKind]()
	fill(t, pool, other, 30_000, "create-key", 0)
	fill(t, pool, one, audit.Scan+2_000, "change-webhook", 0)
	fill(t, pool, one, 50, "create-agent", 48*time.Hour)
	rec := pgplan.Open(t, url)
	for _, tenant := range []events.TenantID{one, {}} {
		rec.Reset()
		page, end, err := audit.List(ctx, rec.Pool, audit.Filter{TenantID: tenant}, pg.Place{}, 20)
		require.NoError(t, err)
		require.Len(t, page, 20)
		require.Zero(t, end)
		index := "audit_log_pkey"
		if !tenant.IsZero() {
			index = "audit_log_tenant"
		}
		p := rec.Of(t, "WITH seen")
		p.Within(t, pgplan.Bound{Indexes: []string{index}, Rows: 100, Sorted: 40, Blocks: 200})
		require.LessOrEqual(t, len(p.Scanned()), 1, "one day:\n%s", p)
	}

	// A filter that nothing of the newest entries fits ends with a place to go on from.
	var found []audit.Entry
	after, calls := pg.Place{}, 0
	for {
		rec.Reset()
		page, end, err := audit.List(ctx, rec.Pool, audit.Filter{TenantID: one, Operation: "create-agent"}, after, 100)
		require.NoError(t, err)
		found = append(found, page...)
		rec.Of(t, "WITH seen").Within(t, pgplan.Bound{Indexes: []string{"audit_log_tenant"}, Rows: 6 * audit.Scan, Sorted: 2 * audit.Scan, Blocks: 2 * audit.Scan})
		if calls++; end == (pg.Place{}) {
			break
		}
		after = end
	}
	require.Len(t, found, 50)
	require.Equal(t, 2, calls)
	require.Equal(t, "o50", found[0].Object, "newest first")

	// Pages without a filter pass over days without entries, and show each entry once.
	seen := map[[16]byte]bool{}
	for after = (pg.Place{}); ; {
		page, _, err := audit.List(ctx, pool, audit.Filter{TenantID: one}, after, 1000)
		require.NoError(t, err)
		for _, e := range page {
			require.False(t, seen[e.ID])
			seen[e.ID] = true
			after = pg.Place{CreatedAt: e.CreatedAt, ID: e.ID}
		}
		if len(page) < 1000 {
			break
		}
	}
	require.Len(t, seen, audit.Scan+2_050)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	page, _, err := audit.List(ctx, pool, audit.Filter{TenantID: one, Until: today}, pg.Place{}, 100)
	require.NoError(t, err)
	require.Len(t, page, 50)
	page, _, err = audit.List(ctx, pool, audit.Filter{TenantID: one, Since: today.Add(100 * time.Millisecond)}, pg.Place{}, 100)
	require.NoError(t, err)
	require.Empty(t, page)
}
