package dispatch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
)

func TestALaneBeginsWithSettingsThatChangedDuringTheSearch(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	ctx := t.Context()
	holdAll(d)
	d.watchWebhooks()
	exec(t, d, `UPDATE fanmail.webhooks SET ordering = 'strict'`)
	require.NoError(t, d.registry.Load(ctx))
	d.mu.Lock()
	d.sched.Own([events.Partitions]bool{}) // no lane is left
	d.mu.Unlock()
	holdAll(d)

	// The search has read the webhook, and waits to mark its row for strict order.
	tx, err := d.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT FROM fanmail.webhook_subscriber_deliveries FOR UPDATE`)
	require.NoError(t, err)
	searched := make(chan error, 1)
	go func() { searched <- d.rescue(ctx, events.Partition(q.WebhookID)) }()
	require.Eventually(t, func() bool {
		n := 0
		require.NoError(t, d.pool.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n))
		return n == 1
	}, time.Minute, 5*time.Millisecond)
	exec(t, d, `UPDATE fanmail.webhooks SET enabled = false`)
	require.NoError(t, d.registry.Load(ctx))
	require.NoError(t, tx.Rollback(ctx))
	require.NoError(t, <-searched)
	require.True(t, d.Full(q.WebhookID), "the lane is that of a disabled webhook")
	a, _ := d.add(q)
	require.Equal(t, scheduler.Full, a)
}
