package fanout_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestARowThatIsLeasedAgainMeanwhileIsStillFannedOut has a relay lease a row again
// between the fan-out's snapshot and its lock.
func TestARowThatIsLeasedAgainMeanwhileIsStillFannedOut(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	stop := startRelay(t, pool, nc, js)
	insert(t, pool, tenant, 3)
	count := func(query string) (n int) {
		require.NoError(t, pool.QueryRow(ctx, query).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return count(`SELECT count(*) FROM fanmail.outbox WHERE publishes = 1`) == 3 }, time.Minute, 5*time.Millisecond)
	stop() // the relay publishes all that it has leased

	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `UPDATE fanmail.outbox SET publishes = 2 WHERE seq = (SELECT max(seq) FROM fanmail.outbox)`)
	require.NoError(t, err)
	stop = fanOut(t, pool, nc, js, nil)
	require.Eventually(t, func() bool {
		return count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	}, time.Minute, 5*time.Millisecond)
	require.NoError(t, tx.Commit(ctx))
	require.Eventually(t, func() bool { return count(`SELECT count(*) FROM fanmail.outbox`) == 0 }, time.Minute, 5*time.Millisecond)
	stop()
	require.Equal(t, 3, count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries`))
}
