package migrations_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// patience bounds what is waited for; nothing is asserted about it.
const patience = 3 * time.Minute

const insertFailed = `INSERT INTO %s (id, created_at, webhook_id, tenant_id, event_id, event_created_at, finished_at, expires_at, seq, attempts, max_attempts, status, event_type)
	SELECT gen_random_uuid(), now(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), now(), now(), i, 8, 8, 'failed', 'email.received'
	FROM generate_series(1, 100) AS i`

// TestTheIndexIsMadeWhileDeliveriesAreWritten holds a transaction open that has
// written, so that whoever wants all writers out waits, and writes on behind it.
func TestTheIndexIsMadeWhileDeliveriesAreWritten(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := pgtest.URL(t)
	pool, migrating := pgtest.Open(t, url), pgtest.Open(t, url)
	exec := func(sql string) {
		t.Helper()
		_, err := pool.Exec(ctx, sql)
		require.NoError(t, err)
	}
	var today string
	require.NoError(t, pool.QueryRow(ctx, `SELECT 'webhook_subscriber_deliveries_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')`).Scan(&today))
	exec(`DROP INDEX webhook_subscriber_deliveries_failed`)
	exec(`DELETE FROM goose_db_version WHERE version_id = 7`)
	exec(fmt.Sprintf(insertFailed, today))

	open, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = open.Rollback(context.WithoutCancel(ctx)) }()
	_, err = open.Exec(ctx, fmt.Sprintf(insertFailed, today))
	require.NoError(t, err)
	up := func() (cancel func(), done <-chan error) {
		ctx, cancel := context.WithCancel(ctx)
		result := make(chan error, 1)
		go func() { result <- migrations.Up(ctx, migrating) }()
		require.Eventually(t, func() bool { return waiting(ctx, pool) }, patience, 20*time.Millisecond, "it waits for the open transaction")
		// Writers don't: neither to this partition nor through the table.
		for _, table := range []string{today, "webhook_subscriber_deliveries"} {
			_, err := pool.Exec(ctx, `SET lock_timeout = '30s'; `+fmt.Sprintf(insertFailed, table))
			require.NoError(t, err)
		}
		return cancel, result
	}

	cancel, done := up()
	cancel()
	require.Error(t, <-done)
	require.Eventually(t, func() bool { return !waiting(ctx, pool) }, patience, 20*time.Millisecond, "its statement is cancelled")
	require.Equal(t, 1, unfinished(t, pool), "breaking it off leaves a part that counts for nothing")

	_, done = up()
	require.NoError(t, open.Commit(ctx))
	require.NoError(t, <-done)
	require.Zero(t, unfinished(t, pool))
	require.NoError(t, migrations.MakePartitions(ctx, pool))
	var valid bool
	var parts, partitions int
	require.NoError(t, pool.QueryRow(ctx, `SELECT indisvalid,
		(SELECT count(*) FROM pg_inherits WHERE inhparent = 'webhook_subscriber_deliveries_failed'::regclass),
		(SELECT count(*) FROM pg_inherits WHERE inhparent = 'webhook_subscriber_deliveries'::regclass)
		FROM pg_index WHERE indexrelid = 'webhook_subscriber_deliveries_failed'::regclass`).Scan(&valid, &parts, &partitions))
	require.True(t, valid)
	require.Equal(t, partitions, parts)
	_, err = check(t, pool)
	require.NoError(t, err)
}

// waiting says whether an index waits for those who write, to be made or to be
// dropped where it was left unfinished.
func waiting(ctx context.Context, pool *pgxpool.Pool) (yes bool) {
	err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE query ~ '^(CREATE|DROP) INDEX CONCURRENTLY' AND wait_event_type = 'Lock' AND datname = current_database())`).Scan(&yes)
	return err == nil && yes
}

func unfinished(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid IN (
		SELECT inhrelid FROM pg_inherits WHERE inhparent = 'webhook_subscriber_deliveries'::regclass)`).Scan(&n))
	return n
}
