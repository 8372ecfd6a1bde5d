package fanout_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestARowThatIsLeasedAnewMeanwhileIsFannedOutAllTheSame has a relay lease a
// row again between the fan-out's snapshot and its lock.
func TestARowThatIsLeasedAnewMeanwhileIsFannedOutAllTheSame(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	log := zaptest.NewLogger(t)
	registry := subscribers.NewRegistry(pool, nc, log)
	require.NoError(t, registry.Load(ctx))
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- outbox.NewRelay(pool, nc, js, outbox.RelayOptions{Log: log}).Run(running) }()
	insert(t, pool, tenant, 3)
	count := func(query string) (n int) {
		require.NoError(t, pool.QueryRow(ctx, query).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return count(`SELECT count(*) FROM outbox WHERE publishes = 1`) == 3 }, time.Minute, 5*time.Millisecond)
	stop() // it publishes what it has leased
	require.NoError(t, <-done)

	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `UPDATE outbox SET publishes = 2 WHERE seq = (SELECT max(seq) FROM outbox)`)
	require.NoError(t, err)
	running, stop = context.WithCancel(context.Background())
	go func() { done <- fanout.New(pool, js, registry, fanout.Options{Log: log}).Run(running) }()
	require.Eventually(t, func() bool {
		return count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	}, time.Minute, 5*time.Millisecond)
	require.NoError(t, tx.Commit(ctx))
	require.Eventually(t, func() bool { return count(`SELECT count(*) FROM outbox`) == 0 }, time.Minute, 5*time.Millisecond)
	stop()
	require.NoError(t, <-done)
	require.Equal(t, 3, count(`SELECT count(*) FROM webhook_subscriber_deliveries`))
}
