package migrations_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestUpIsSafeFromManyProcessesAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.EmptyURL(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		pool := pgtest.Open(t, url)
		wg.Go(func() { errs[i] = migrations.Up(ctx, pool) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	pool := pgtest.Open(t, url)
	require.NoError(t, migrations.Check(ctx, pool))
	var days int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass`).Scan(&days))
	require.Equal(t, migrations.Ahead+2, days)
}

func TestOlderAndNewerDatabasesAreRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	want, err := migrations.Version()
	require.NoError(t, err)

	empty := pgtest.Open(t, pgtest.EmptyURL(t))
	var schema *migrations.SchemaError
	require.ErrorAs(t, migrations.Check(ctx, empty), &schema)
	require.Equal(t, &migrations.SchemaError{Have: 0, Want: want}, schema)
	require.Contains(t, schema.Error(), "fanmail migrate")

	newer := pgtest.Pool(t)
	_, err = newer.Exec(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, true)`, want+7)
	require.NoError(t, err)
	require.ErrorAs(t, migrations.Check(ctx, newer), &schema)
	require.Equal(t, want+7, schema.Have)
	require.ErrorAs(t, migrations.Up(ctx, newer), &schema, "Up must not touch a newer database")
	require.Contains(t, schema.Error(), "run a newer Fanmail")
}

func TestHotTablesHaveNoForeignKeys(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	var n int
	require.NoError(t, pool.QueryRow(context.Background(), `
		SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text ~
			'^(events|outbox|event_keys|webhook_subscriber_deliveries|webhook_delivery_attempts|messages|message_raws|conversation_keys)'`).Scan(&n))
	require.Zero(t, n)
}
