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
	schema, err := migrations.Read(ctx, pool)
	require.NoError(t, err)
	require.NoError(t, schema.Check())
	var days int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'fanmail.events'::regclass`).Scan(&days))
	require.Equal(t, migrations.Ahead+2, days)
}

func TestHotTablesHaveNoForeignKeys(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	var n int
	require.NoError(t, pool.QueryRow(context.Background(), `
		SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text ~
			'^fanmail\.(events|outbox|event_keys|webhook_subscriber_deliveries|webhook_delivery_attempts|messages|message_raws|conversation_keys)'`).Scan(&n))
	require.Zero(t, n)
}
