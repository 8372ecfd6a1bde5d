package fanout_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestABatchThatTakesLongHoldsUpNoOther has one event's transaction wait for a
// lock, as it would be busy with an event for thousands of webhooks.
func TestABatchThatTakesLongHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	tenant := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(ctx, `INSERT INTO tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	_, _, err = subscribers.NewStore(pool, subscribers.Limits{}).Create(ctx, tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	insert := func() (id events.ID) {
		require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			id, err = outbox.Insert(ctx, tx, events.Event{TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`{}`)})
			return err
		}))
		return id
	}
	delivered := func(id events.ID) func() bool {
		return func() bool {
			var n int
			err := pool.QueryRow(ctx, `SELECT count(*) FROM webhook_subscriber_deliveries WHERE event_id = $1`, id).Scan(&n)
			return err == nil && n == 1
		}
	}
	log := zaptest.NewLogger(t)
	registry := subscribers.NewRegistry(pool, nc, log)
	require.NoError(t, registry.Load(ctx))
	done := make(chan error, 2)
	go func() { done <- outbox.NewRelay(pool, nc, js, outbox.RelayOptions{Log: log}).Run(ctx) }()

	long := insert()
	require.Eventually(t, func() bool {
		var published bool
		err := pool.QueryRow(ctx, `SELECT publishes > 0 FROM outbox WHERE event_id = $1`, long).Scan(&published)
		return err == nil && published
	}, time.Minute, 10*time.Millisecond)
	lock, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = lock.Exec(ctx, `SELECT 1 FROM outbox WHERE event_id = $1 FOR UPDATE`, long)
	require.NoError(t, err)
	go func() { done <- fanout.New(pool, js, registry, fanout.Options{Log: log}).Run(ctx) }()
	require.Eventually(t, func() bool {
		var waits bool
		err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
			WHERE NOT l.granted AND a.datname = current_database())`).Scan(&waits)
		return err == nil && waits
	}, time.Minute, 10*time.Millisecond, "the first batch is under way")

	other := insert()
	require.Eventually(t, delivered(other), time.Minute, 10*time.Millisecond)
	require.False(t, delivered(long)())
	require.NoError(t, lock.Rollback(ctx))
	require.Eventually(t, delivered(long), time.Minute, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
}
