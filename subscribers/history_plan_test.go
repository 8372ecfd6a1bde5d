package subscribers_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// history is a tenant with two webhooks of many deliveries. One in a thousand
// failed, some are pending, and all others were delivered.
type history struct {
	*pgplan.Recorder
	t      *testing.T
	store  *subscribers.Store
	tenant events.TenantID
	hook   events.WebhookID
}

const (
	historyRows = 60_000
	waitingRows = 7_000
)

func newHistory(t *testing.T) *history {
	t.Helper()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	h := &history{t: t, tenant: events.NewRandom[events.TenantKind](), hook: events.NewRandom[events.WebhookKind]()}
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, h.tenant)
	require.NoError(t, err)
	for _, id := range []events.WebhookID{h.hook, events.NewRandom[events.WebhookKind]()} {
		_, err = pool.Exec(ctx, `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) VALUES ($1, $2, 'https://x.example/', '{email.received}', '')`, id, h.tenant)
		require.NoError(t, err)
		// Delivery i took 1 + i % 100 milliseconds. A quarter is of the last minutes,
		// the others are of yesterday.
		_, err = pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
				(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, finished_at, expires_at, seq, attempts, max_attempts, event_type, status)
			SELECT gen_random_uuid(), at, $1, $2, gen_random_uuid(), at, CASE WHEN i <= $4 THEN now() + make_interval(secs => i) END,
				CASE WHEN i > $4 THEN at + make_interval(secs => (1 + i % 100) * 0.001) END, at + interval '30 days', i, 1, 8,
				CASE WHEN i % 2000 = 7 THEN 'email.sent' ELSE 'email.received' END,
				CASE WHEN i <= $4 THEN 'pending' WHEN i % 1000 = 999 THEN 'failed' ELSE 'delivered' END
			FROM generate_series(1, $3::int) AS i, LATERAL (SELECT now() - CASE WHEN i % 4 = 0 THEN make_interval(secs => i * 0.001) ELSE interval '24 hours' + make_interval(secs => i * 0.01) END AS at) AS a`,
			id, h.tenant, historyRows, waitingRows)
		require.NoError(t, err)
	}
	_, err = pool.Exec(ctx, `VACUUM ANALYZE fanmail.webhook_subscriber_deliveries`)
	require.NoError(t, err)
	h.Recorder = pgplan.Open(t, url)
	h.store = subscribers.NewStore(h.Pool, subscribers.Limits{})
	return h
}

func TestAFilteredListReadsABoundedPieceOfHistory(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHistory(t)
	for _, f := range []subscribers.DeliveryFilter{{Status: "failed"}, {EventType: "email.sent"}, {Status: "pending"}} {
		var found []events.DeliveryID
		var after subscribers.Place
		calls := 0
		for {
			h.Reset()
			got, end, err := h.store.ListDeliveries(ctx, h.tenant, h.hook, f, after, 50)
			require.NoError(t, err)
			calls++
			p := h.Of(t, "AS MATERIALIZED")
			p.Within(t, pgplan.Bound{
				Indexes: []string{"webhook_subscriber_deliveries_history"}, Rows: 2*subscribers.ListScan + 200, Sorted: 100, Blocks: 3 * subscribers.ListScan,
			})
			for _, d := range got {
				require.True(t, (f.Status == "" || d.Status == f.Status) && (f.EventType == "" || d.EventType == f.EventType))
				found = append(found, d.ID)
			}
			if len(got) == 50 {
				require.Zero(t, end, "the last row of a full page is the place to continue from")
				end = subscribers.Place{CreatedAt: got[49].CreatedAt, ID: got[49].ID}
			}
			if end.CreatedAt.IsZero() {
				break
			}
			after = end
		}
		rows, err := h.Pool.Query(ctx, `SELECT id FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1
			AND ($2 = '' OR status = $2) AND ($3 = '' OR event_type = $3) ORDER BY created_at DESC, id DESC`, h.hook, f.Status, string(f.EventType))
		require.NoError(t, err)
		var want []events.DeliveryID
		for rows.Next() {
			var id events.DeliveryID
			require.NoError(t, rows.Scan(&id))
			want = append(want, id)
		}
		require.NoError(t, rows.Err())
		require.NotEmpty(t, want)
		require.Equal(t, want, found, "%+v", f)
		require.GreaterOrEqual(t, calls, historyRows/subscribers.ListScan, "%+v", f)
	}
}

func TestStatsReadABoundedPieceOfEachWebhook(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHistory(t)
	total, list, err := h.store.Stats(ctx, h.tenant, events.WebhookID{}, time.Hour)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, 2*subscribers.StatsSample, total.Delivered+total.Failed+total.Pending)
	require.Equal(t, 2*subscribers.StatsSample, total.Attempts)
	require.False(t, total.Complete)
	require.Equal(t, 2*subscribers.StatsBacklog, total.Waiting)
	require.True(t, total.WaitingMore)
	for _, w := range list {
		require.Equal(t, subscribers.StatsSample, w.Delivered+w.Failed+w.Pending)
		require.False(t, w.Complete)
		require.True(t, w.WaitingMore)
		require.NotNil(t, w.OldestDue)
		require.False(t, w.Since.IsZero())
	}
	recent := h.Of(t, "GROUPING SETS")
	t.Logf("recent: %d rows read, %d blocks", recent.Rows(), recent.Blocks())
	recent.Within(t, pgplan.Bound{
		Indexes: []string{"webhook_subscriber_deliveries_history", "webhooks_tenant"}, Rows: 3*2*subscribers.StatsSample + 100, Sorted: 5 * 2 * subscribers.StatsSample, Blocks: 4 * 2 * subscribers.StatsSample,
	})
	waiting := h.Of(t, "AS rows")
	t.Logf("waiting: %d rows read, %d blocks", waiting.Rows(), waiting.Blocks())
	waiting.Within(t, pgplan.Bound{
		Indexes: []string{byDue, byStrict, "webhooks_tenant"}, Rows: 2*2*subscribers.StatsBacklog + 200, Sorted: 10, Blocks: 3 * 2 * subscribers.StatsBacklog,
	})
}

func TestStatsCountWhatBecameOfAWindowsEvents(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	store := subscribers.NewStore(pool, subscribers.Limits{})
	tenant, hook := events.NewRandom[events.TenantKind](), events.NewRandom[events.WebhookKind]()
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) VALUES ($1, $2, 'https://x.example/', '{email.received}', '')`, hook, tenant)
	require.NoError(t, err)
	add := func(n int, kind, status, age string, took time.Duration, strict bool) {
		t.Helper()
		_, err := pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
				(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, finished_at, expires_at, seq, attempts, max_attempts, event_type, status, kind, strict)
			SELECT gen_random_uuid(), now() - $4::interval, $1, $2, gen_random_uuid(), now(), CASE WHEN $5 = 'pending' THEN now() - interval '5 minutes' END,
				CASE WHEN $5 <> 'pending' THEN now() - $4::interval + make_interval(secs => $6) END, now(), i, 2, 8, 'email.received', $5, $7, $8
			FROM generate_series(1, $3::int) AS i`, hook, tenant, n, age, status, took.Seconds(), kind, strict)
		require.NoError(t, err)
	}
	add(90, "live", "delivered", "1 minute", 20*time.Millisecond, false)
	add(10, "live", "delivered", "1 minute", 3*time.Second, false)
	add(25, "live", "failed", "2 minutes", time.Second, false)
	add(4, "live", "pending", "3 minutes", 0, false)
	add(3, "live", "pending", "3 minutes", 0, true)
	add(7, "test", "failed", "1 minute", 0, false)
	add(50, "live", "failed", "2 hours", 0, false)
	total, list, err := store.Stats(ctx, tenant, hook, time.Hour)
	require.NoError(t, err)
	require.Len(t, list, 1)
	for _, s := range []subscribers.Stats{total, list[0]} {
		require.Equal(t, 100, s.Delivered)
		require.Equal(t, 25, s.Failed)
		require.Equal(t, 7, s.Pending)
		require.Equal(t, 2*132, s.Attempts)
		require.True(t, s.Complete)
		require.Equal(t, 7, s.Waiting)
		require.Equal(t, 20*time.Millisecond, s.P50.Round(time.Millisecond))
		require.Equal(t, 3*time.Second, s.P99.Round(time.Millisecond))
		require.NotNil(t, s.OldestDue)
	}
	_, _, err = store.Stats(ctx, events.NewRandom[events.TenantKind](), hook, time.Hour)
	require.ErrorIs(t, err, subscribers.ErrNotFound)
	_, none, err := store.Stats(ctx, events.NewRandom[events.TenantKind](), events.WebhookID{}, time.Hour)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestActivityReadsABoundedPieceOfEachWebhook(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHistory(t)
	list, more, err := h.store.Activity(ctx, h.tenant, nil, true, time.Hour, 24)
	require.NoError(t, err)
	require.False(t, more)
	require.Len(t, list, 2)
	for _, a := range list {
		require.Len(t, a.Buckets, 24)
		require.Equal(t, subscribers.ActivityWaiting, a.Waiting)
		require.True(t, a.WaitingMore)
		require.NotNil(t, a.NextDue)
		// Four rows a second for the last quarter of an hour, which the sample of 41 shows.
		last := a.Buckets[len(a.Buckets)-1]
		if !last.Estimated { // the hour has just begun
			last = a.Buckets[len(a.Buckets)-2]
		}
		require.True(t, last.Estimated)
		require.Greater(t, last.Delivered+last.Failed+last.Pending, subscribers.ActivitySample/24)
	}
	h.Of(t, "date_bin").Within(t, pgplan.Bound{
		Indexes: []string{"webhook_subscriber_deliveries_history", "webhooks_tenant"}, Rows: 2*2*subscribers.ActivitySample + 500, Sorted: 2*24*8 + 200, Blocks: 6 * subscribers.ActivitySample,
	})
	h.Reset()
	short, _, err := h.store.Activity(ctx, h.tenant, nil, false, time.Hour, 24)
	require.NoError(t, err)
	require.Len(t, short, 2)
	for i, a := range short {
		require.Equal(t, list[i].WebhookID, a.WebhookID)
		require.Zero(t, a.Waiting)
		require.Nil(t, a.NextDue)
		require.Len(t, a.Buckets, 24)
	}
	h.Of(t, "NULL::timestamptz").Within(t, pgplan.Bound{Indexes: []string{"webhooks_tenant"}, Rows: 10, Sorted: 4, Blocks: 10})
	_, _, err = h.store.Activity(ctx, h.tenant, nil, true, time.Hour, 24)
	require.NoError(t, err)
	h.Of(t, "AS p\nCROSS").Within(t, pgplan.Bound{
		Indexes: []string{"webhook_subscriber_deliveries_due", "webhook_subscriber_deliveries_strict", "webhooks_tenant"},
		Rows:    2*2*subscribers.ActivityWaiting + 200, Sorted: 100, Blocks: 8 * subscribers.ActivityWaiting,
	})
}

// TestAttemptsOfDeliveriesAreReadByTheirKeys in one statement, in order, each with its own delivery.
func TestAttemptsOfDeliveriesAreReadByTheirKeys(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHistory(t)
	_, err := h.Pool.Exec(ctx, `INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason, error)
		SELECT id, created_at, n, created_at + n * interval '1 second', n, 503, 'status', 'answered 503' FROM fanmail.webhook_subscriber_deliveries, generate_series(1, 2) AS n
		WHERE status <> 'delivered' OR seq % 4 = 0`)
	require.NoError(t, err)
	_, err = h.Pool.Exec(ctx, `VACUUM ANALYZE fanmail.webhook_delivery_attempts`)
	require.NoError(t, err)
	list, _, err := h.store.ListDeliveries(ctx, h.tenant, h.hook, subscribers.DeliveryFilter{}, subscribers.Place{}, 20)
	require.NoError(t, err)
	require.Len(t, list, 20)
	h.Reset()
	logs, err := h.store.AttemptsOf(ctx, list)
	require.NoError(t, err)
	h.Of(t, "webhook_delivery_attempts").Within(t, pgplan.Bound{Indexes: []string{"webhook_delivery_attempts_pkey"}, Rows: 100, Sorted: 60, Blocks: 200})
	for _, d := range list {
		require.Len(t, logs[d.ID], 2)
		for i, a := range logs[d.ID] {
			require.Equal(t, i+1, a.Attempt)
			require.WithinDuration(t, d.CreatedAt.Add(time.Duration(i+1)*time.Second), a.At, 0)
		}
	}
	none, err := h.store.AttemptsOf(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestOldAttemptsOfADeliveryAreNotRead: retries on request add any number of attempts.
func TestOldAttemptsOfADeliveryAreNotRead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHistory(t)
	list, _, err := h.store.ListDeliveries(ctx, h.tenant, h.hook, subscribers.DeliveryFilter{}, subscribers.Place{}, 20)
	require.NoError(t, err)
	var ids []events.DeliveryID
	for _, d := range list {
		ids = append(ids, d.ID)
	}
	const each = 5_000
	_, err = h.Pool.Exec(ctx, `INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason)
		SELECT id, created_at, n, created_at + n * interval '1 second', n, 503, 'status' FROM fanmail.webhook_subscriber_deliveries, generate_series(1, $2::int) AS n
		WHERE id = ANY ($1)`, ids, each)
	require.NoError(t, err)
	for range 2 { // without statistics, and with them
		h.Reset()
		logs, err := h.store.AttemptsOf(ctx, list)
		require.NoError(t, err)
		const most = 20 * subscribers.LoggedAttempts
		h.Of(t, "FROM fanmail.webhook_delivery_attempts").Within(t, pgplan.Bound{Indexes: []string{"webhook_delivery_attempts_pkey"}, Rows: most + 20, Sorted: most, Blocks: 2 * most})
		for _, d := range list {
			log := logs[d.ID]
			require.Len(t, log, subscribers.LoggedAttempts)
			require.Equal(t, each-len(log)+1, log[0].Attempt)
			require.Equal(t, each, log[len(log)-1].Attempt)
		}
		_, err = h.Pool.Exec(ctx, `VACUUM ANALYZE fanmail.webhook_delivery_attempts`)
		require.NoError(t, err)
	}
}
