package replay_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestAReplayReadsOnlyItsEvents replays 2,000 events beside 40,000 of another tenant. It
// reads them from the table, whose statements read the most.
func TestAReplayReadsOnlyItsEvents(t *testing.T) {
	t.Parallel()
	const mine, others, batch = 2_000, 40_000, 500
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	nc, js := natstest.Connect(t)
	tenant := events.NewRandom[events.TenantKind]()
	exec := func(sql string, args ...any) {
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	insert := `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT gen_random_uuid(), now() - make_interval(secs => 3600 - i * 0.01), $1, 'email.received', i, '{}' FROM generate_series(1, $2::int) AS i`
	exec(insert, tenant, mine)
	exec(insert, events.NewRandom[events.TenantKind](), others)
	exec(`INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type, status, kind, replay_id)
		SELECT gen_random_uuid(), created_at, gen_random_uuid(), tenant_id, id, created_at, NULL, now(), seq, 8, type, 'delivered',
			CASE WHEN seq % 4 = 0 THEN 'replay' ELSE 'live' END, CASE WHEN seq % 4 = 0 THEN gen_random_uuid() END FROM fanmail.events`)
	exec(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at, leased_until)
		SELECT $1, 1000000 + i, gen_random_uuid(), now() + interval '1 minute', now() + interval '1 hour' FROM generate_series(1, 5000) AS i`, tenant)
	exec(`ANALYZE`)
	w, _, err := subscribers.NewStore(pool, subscribers.Limits{}).Create(ctx, tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	made, err := replay.NewStore(pool).Create(ctx, tenant, replay.Request{Since: time.Now().Add(-2 * time.Hour), WebhookID: w.ID, Mode: replay.Missed})
	require.NoError(t, err)

	r := pgplan.Open(t, url)
	log := zaptest.NewLogger(t)
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- replay.NewRunner(r.Pool, nc, js, subscribers.NewRegistry(r.Pool, nc, log), replay.Options{Log: log, StepInterval: 10 * time.Millisecond}).Run(run)
	}()
	require.Eventually(t, func() bool {
		got, err := replay.NewStore(pool).Get(ctx, tenant, made.ID)
		return err == nil && !got.Reading && got.Enqueued > 0
	}, patience, 20*time.Millisecond)
	// No dispatcher runs. Mark the deliveries as delivered, so that the next are enqueued.
	exec(`UPDATE fanmail.webhook_subscriber_deliveries SET status = 'delivered', next_retry_at = NULL, finished_at = now() WHERE replay_id = $1`, made.ID)
	require.Eventually(t, func() bool {
		got, err := replay.NewStore(pool).Get(ctx, tenant, made.ID)
		return err == nil && got.Delivered > 0
	}, patience, 20*time.Millisecond)
	stop()
	require.NoError(t, <-done)

	// Postgres may pick any index on an empty partition. The number of blocks shows that each
	// access is one index lookup.
	for _, s := range []struct {
		name, holding        string
		rows, sorted, blocks int
	}{
		{"read events", "ORDER BY created_at, id LIMIT", 2 * batch, 0, 4 * batch},
		{"delivered live", "WITH ORDINALITY AS c (live_id", batch, batch, 8 * batch},
		{"outcomes", "status <> 'pending' OR attempts > 0", 1024, 0, 8 * 512},
		{"insert", "results AS MATERIALIZED", 4 * 512, 1024, 512 * 100},
	} {
		p := r.Of(t, s.holding)
		t.Logf("%s: %d rows read, %d sorted, %d blocks, by %v", s.name, p.Rows(), p.Sorted(), p.Blocks(), p.Indexes())
		require.Empty(t, p.Scanned(), "%s", p)
		require.LessOrEqual(t, p.Rows(), s.rows, "%s", p)
		require.LessOrEqual(t, p.Sorted(), s.sorted, "%s", p)
		require.LessOrEqual(t, p.Blocks(), s.blocks, "%s", p)
	}
}
