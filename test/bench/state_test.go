package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestTablesAreLoadedOnceAndCopied(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cache, err := os.MkdirTemp("", "fanmail-bench-test-") //nolint:usetesting // Postgres's user can't walk through the test's own
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(cache) })
	require.NoError(t, os.Chmod(cache, 0o755))
	s := State{History: 5800, Due: 400, Webhooks: 120, OldDay: 300}
	tables, err := s.template(ctx, cache)
	require.NoError(t, err)
	again, err := s.template(ctx, cache)
	require.NoError(t, err)
	require.Equal(t, tables, again)

	dir := filepath.Join(cache, "copy")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, copyTree(ctx, tables, dir))
	p, err := startPostgres(ctx, dir)
	require.NoError(t, err)
	t.Cleanup(p.stop)
	count := func(sql string, args ...any) int {
		var n int
		require.NoError(t, p.pool.QueryRow(ctx, sql, args...).Scan(&n))
		return n
	}
	const rows = `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries `
	today := time.Now().UTC().Truncate(24 * time.Hour)
	require.Equal(t, 5800, count(rows+`WHERE status = 'delivered'`))
	// Rows loaded before midnight and counted after it are yesterday's.
	require.GreaterOrEqual(t, count(rows+`WHERE status = 'delivered' AND created_at >= $1`, today.AddDate(0, 0, -1)), 2900)
	require.Positive(t, count(rows+`WHERE status = 'delivered' AND webhook_id = $1`, webhookID(hundredPath(3))), "the workload's own webhooks have history")
	require.Equal(t, 400, count(rows+`WHERE status = 'pending' AND next_retry_at <= now()`))
	require.Zero(t, count(rows+`AS d WHERE status = 'pending' AND NOT EXISTS (SELECT FROM fanmail.events AS e WHERE e.id = d.event_id AND e.created_at = d.event_created_at)`),
		"what is due can be sent")
	require.Equal(t, 120+dueHooks, count(`SELECT count(*) FROM fanmail.webhooks`))

	require.NoError(t, attachOldDay(ctx, p.pool))
	require.Equal(t, 300, count(rows+`WHERE created_at < $1`, today.AddDate(0, 0, 1-oldDays)))
	done, err := retention.Run(ctx, p.pool, subscribers.RetentionRules(retention.Policy{}))
	require.NoError(t, err)
	require.Positive(t, done.Dropped)
	require.Zero(t, count(rows+`WHERE created_at < $1`, today.AddDate(0, 0, 1-oldDays)), "retention drops it")
}

func TestStateSaysWhatItIs(t *testing.T) {
	t.Parallel()
	require.Empty(t, State{}.about())
	require.Equal(t, " (5 delivered, 2 due)", State{History: 500, Due: 200}.scaled(.01).about())
}
