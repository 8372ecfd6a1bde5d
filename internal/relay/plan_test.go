package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestTheRelayLeasesByIndex has a relay work off what waits beside many rows
// that others hold under leases.
func TestTheRelayLeasesByIndex(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	nc, js := natstest.Connect(t)
	const held, due, batch = 20_000, 1_200, 500
	ten := newTenant(t, pool)
	fill := func() {
		_, err := pool.Exec(ctx, `
			WITH ev AS (INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
			            SELECT gen_random_uuid(), now(), $3, 'email.received', i, '{}' FROM generate_series(1, $1::int) AS i
			            RETURNING id, created_at, tenant_id, seq)
			INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at, leased_until)
			SELECT tenant_id, seq, id, created_at, CASE WHEN seq <= $2 THEN now() + interval '1 hour' ELSE '-infinity'::timestamptz END FROM ev`, held+due, held, ten)
		require.NoError(t, err)
	}
	empty := func() {
		_, err := pool.Exec(ctx, `DELETE FROM fanmail.outbox`)
		require.NoError(t, err)
		_, err = pool.Exec(ctx, `DELETE FROM fanmail.events`)
		require.NoError(t, err)
	}
	analyze := func() {
		_, err := pool.Exec(ctx, `ANALYZE fanmail.outbox, fanmail.events`)
		require.NoError(t, err)
	}
	for _, state := range []struct {
		is    string
		steps []func()
	}{
		{"never analyzed", []func(){fill}},
		{"analyzed", []func(){empty, fill, analyze}},
		{"analyzed while it was empty", []func(){empty, analyze, fill}},
	} {
		for _, step := range state.steps {
			step()
		}
		r := pgplan.Open(t, url)
		stop := start(t, r.Pool, nc, js)
		read(t, js, due)
		stop()
		p := r.Of(t, "SET publishes")
		t.Logf("%s: %d rows read, %d sorted, %d blocks, by %v", state.is, p.Rows(), p.Sorted(), p.Blocks(), p.Indexes())
		p.Within(t, pgplan.Bound{Indexes: []string{"outbox_lease", "events_pkey"}, Rows: 5 * batch, Sorted: 2 * batch, Blocks: 30 * batch})

		// The rows of others are not overdue: their leases are longer.
		needed, err := outbox.Undelivered(ctx, r.Pool, true, outbox.FirstLease-time.Second)
		require.NoError(t, err)
		require.False(t, needed)
		p = r.Of(t, "publishes > 0")
		p.Within(t, pgplan.Bound{Indexes: []string{"outbox_lease"}, Rows: 10, Blocks: 3 * due})
		require.NoError(t, js.DeleteStream(ctx, stream.Events))
		require.NoError(t, stream.Ensure(ctx, js, stream.Options{}))
	}
}
