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
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestFanoutTakesItsRowsByKey fans out a few hundred events beside an outbox
// full of others.
func TestFanoutTakesItsRowsByKey(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	nc, js := natstest.Connect(t)
	tenant := newTenant(t, pool)
	const held, n = 20_000, 300
	// The statistics are those of an outbox that has been emptied.
	for _, statement := range []string{
		`INSERT INTO outbox (tenant_id, event_id, created_at) SELECT gen_random_uuid(), gen_random_uuid(), now() FROM generate_series(1, 1000)`,
		`DELETE FROM outbox`, `ANALYZE outbox`,
	} {
		_, err := pool.Exec(ctx, statement)
		require.NoError(t, err)
	}
	_, err := pool.Exec(ctx, `INSERT INTO outbox (tenant_id, event_id, created_at, leased_until)
		SELECT $1, gen_random_uuid(), now(), now() + interval '1 hour' FROM generate_series(1, $2::int)`, tenant, held)
	require.NoError(t, err)
	newWebhook(t, pool, tenant)
	insert(t, pool, tenant, n)

	log := zaptest.NewLogger(t)
	r := pgplan.Open(t, url)
	registry := subscribers.NewRegistry(r.Pool, nc, log)
	require.NoError(t, registry.Load(ctx))
	done := make(chan error, 2)
	go func() { done <- outbox.NewRelay(pool, nc, js, outbox.RelayOptions{Log: log}).Run(ctx) }()
	go func() { done <- fanout.New(r.Pool, js, registry, fanout.Options{Log: log}).Run(ctx) }()
	require.Eventually(t, func() bool {
		var left, born int
		err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM webhook_subscriber_deliveries)`).Scan(&left, &born)
		return err == nil && left == held && born == n
	}, time.Minute, 20*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, <-done)

	p := r.Of(t, "DELETE FROM outbox")
	t.Logf("takeOutbox: %d rows read, %d sorted, %d blocks", p.Rows(), p.Sorted(), p.Blocks())
	p.Within(t, pgplan.Bound{Indexes: []string{"outbox_pkey"}, Rows: 3 * n, Sorted: n, Blocks: 20 * n})
	p = r.Of(t, "INSERT INTO webhook_subscriber_deliveries")
	p.Within(t, pgplan.Bound{Blocks: 60 * n})
}
