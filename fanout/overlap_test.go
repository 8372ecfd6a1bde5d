package fanout_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestALongBatchDelaysNoOther lets one event's transaction wait for a lock. It stands
// for an event for thousands of webhooks.
func TestALongBatchDelaysNoOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	delivered := func(id events.ID) func() bool {
		return func() bool {
			var n int
			err := pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE event_id = $1`, id).Scan(&n)
			return err == nil && n == 1
		}
	}
	stopRelay := startRelay(t, pool, nc, js)

	long := insert(t, pool, tenant, 1)
	require.Eventually(t, func() bool {
		var published bool
		err := pool.QueryRow(ctx, `SELECT publishes > 0 FROM fanmail.outbox WHERE event_id = $1`, long).Scan(&published)
		return err == nil && published
	}, time.Minute, 10*time.Millisecond)
	lock, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = lock.Exec(ctx, `SELECT 1 FROM fanmail.outbox WHERE event_id = $1 FOR UPDATE`, long)
	require.NoError(t, err)
	stopFanout := fanOut(t, pool, nc, js, nil)
	require.Eventually(t, func() bool {
		var waits bool
		err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
			WHERE NOT l.granted AND a.datname = current_database())`).Scan(&waits)
		return err == nil && waits
	}, time.Minute, 10*time.Millisecond, "the first batch is running")

	other := insert(t, pool, tenant, 1)
	require.Eventually(t, delivered(other), time.Minute, 10*time.Millisecond)
	require.False(t, delivered(long)())
	require.NoError(t, lock.Rollback(ctx))
	require.Eventually(t, delivered(long), time.Minute, 10*time.Millisecond)
	stopRelay()
	stopFanout()
}
