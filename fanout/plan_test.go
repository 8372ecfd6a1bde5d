package fanout_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestFanoutTakesItsRowsByKey fans out a few hundred events of an outbox that holds
// thousands of others.
func TestFanoutTakesItsRowsByKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	nc, js := natstest.Connect(t)
	tenant := newTenant(t, pool)
	const held, n = 20_000, 300
	// The statistics are those of an outbox that has been emptied.
	for _, statement := range []string{
		`INSERT INTO fanmail.outbox (tenant_id, event_id, created_at) SELECT gen_random_uuid(), gen_random_uuid(), now() FROM generate_series(1, 1000)`,
		`DELETE FROM fanmail.outbox`, `ANALYZE fanmail.outbox`,
	} {
		_, err := pool.Exec(ctx, statement)
		require.NoError(t, err)
	}
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.outbox (tenant_id, event_id, created_at, leased_until)
		SELECT $1, gen_random_uuid(), now(), now() + interval '1 hour' FROM generate_series(1, $2::int)`, tenant, held)
	require.NoError(t, err)
	newWebhook(t, pool, tenant)
	insert(t, pool, tenant, n)

	r := pgplan.Open(t, url)
	stopRelay, stopFanout := startRelay(t, pool, nc, js), fanOut(t, r.Pool, nc, js, nil)
	require.Eventually(t, func() bool {
		var left, created int
		err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM fanmail.outbox), (SELECT count(*) FROM fanmail.webhook_subscriber_deliveries)`).Scan(&left, &created)
		return err == nil && left == held && created == n
	}, time.Minute, 20*time.Millisecond)
	stopRelay()
	stopFanout()

	p := r.Of(t, "DELETE FROM fanmail.outbox")
	t.Logf("takeOutbox: %d rows read, %d sorted, %d blocks", p.Rows(), p.Sorted(), p.Blocks())
	p.Within(t, pgplan.Bound{Indexes: []string{"outbox_pkey"}, Rows: 3 * n, Sorted: 2 * n, Blocks: 20 * n}) // what is asked for and what is deleted are sorted
	p = r.Of(t, "INSERT INTO fanmail.webhook_subscriber_deliveries")
	p.Within(t, pgplan.Bound{Blocks: 60 * n})
}
