package subscribers_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
)

// TestAPollReadsWhatItLeases polls webhooks with a large backlog, and fetches for the others beside it.
func TestAPollReadsWhatItLeases(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBacklog(t)
	const room = 100
	var tenant events.TenantID
	require.NoError(t, b.Pool.QueryRow(ctx, `UPDATE fanmail.webhooks SET kind = 'pull', ordering = CASE WHEN id = $1 THEN 'strict' ELSE 'none' END
		WHERE id = ANY ($2) RETURNING tenant_id`, b.strict, []events.WebhookID{b.heavy, b.strict}).Scan(&tenant))
	_, err := b.Pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET tenant_id = $1 WHERE webhook_id = ANY ($2) AND status = 'pending'`,
		tenant, []events.WebhookID{b.heavy, b.strict})
	require.NoError(t, err)
	_, err = b.Pool.Exec(ctx, `SELECT setval('fanmail.outbox_seq', 1000000)`)
	require.NoError(t, err)
	s := subscribers.NewStore(b.Pool, subscribers.Limits{})
	b.Reset()
	list, err := s.Poll(ctx, nil, tenant, b.heavy, subscribers.PollRequest{})
	require.NoError(t, err)
	require.Len(t, list, room)
	b.within("fetchDueRows", "NOT strict AND next_retry_at <= now()", pgplan.Bound{Indexes: []string{byDue, byKey}, Rows: 4 * room, Sorted: 2 * room, Blocks: 36 * room})
	b.within("untilDue", "date_part('epoch', min(next_retry_at)", pgplan.Bound{Indexes: []string{byDue}, Rows: 9 * days, Blocks: 9*8 + 3*room}) // it passes the entries just leased
	b.within("envelopes", "e.envelope", pgplan.Bound{Indexes: []string{byEvent}, Rows: 2 * room, Blocks: 8 * room})

	inOrder, err := s.Poll(ctx, nil, tenant, b.strict, subscribers.PollRequest{})
	require.NoError(t, err)
	require.Len(t, inOrder, room)
	b.within("leaseInOrder", "row_number() OVER", pgplan.Bound{Indexes: []string{byStrict, byKey}, Rows: 8 * room, Sorted: 4 * room, Blocks: 36 * room})
	b.within("untilHead", "date_part('epoch', h.next_retry_at", pgplan.Bound{Indexes: []string{byStrict}, Rows: 20, Blocks: 100})

	// One statement looks for all polls that wait, also if most of them have nothing due. Without a broker it comes soon.
	_, err = b.Pool.Exec(ctx, `UPDATE fanmail.webhooks SET kind = 'pull', tenant_id = $2 WHERE id = ANY ($1)`, b.light, tenant)
	require.NoError(t, err)
	over := make(chan struct{})
	var polls sync.WaitGroup
	for _, id := range append([]events.WebhookID{b.strict}, b.light...) {
		polls.Go(func() {
			_, err := s.Poll(ctx, nil, tenant, id, subscribers.PollRequest{Wait: 30 * time.Second, Stop: over})
			if err != nil {
				t.Error(err)
			}
		})
	}
	const dueOfPolled = "FROM unnest($1::uuid[]) AS v (id)"
	n := 1 + len(b.light)
	require.Eventually(t, func() (all bool) {
		return b.Pool.QueryRow(ctx, `SELECT count(last_polled_at) = $2 FROM fanmail.webhooks WHERE id = ANY ($1)`, append([]events.WebhookID{b.strict}, b.light...), n).Scan(&all) == nil && all
	}, time.Minute, 10*time.Millisecond)
	b.Reset()
	require.Eventually(t, func() bool { return b.Runs(dueOfPolled) > 1 }, time.Minute, 10*time.Millisecond, "the first may be of some")
	close(over)
	polls.Wait()
	b.within("dueOfPolled", dueOfPolled, pgplan.Bound{Indexes: []string{byDue, byStrict, "webhooks_pkey"}, Rows: 9 * days * n, Blocks: 9 * 8 * n})

	// Ids of production begin with the time of their rows.
	_, err = b.Pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries
		SET id = (lpad(to_hex((date_part('epoch', date_trunc('milliseconds', created_at)) * 1000)::bigint), 12, '0') || substr(md5(id::text), 1, 20))::uuid
		WHERE webhook_id = $1 AND status = 'pending' AND leased`, b.heavy)
	require.NoError(t, err)
	var ids []events.DeliveryID
	require.NoError(t, b.Pool.QueryRow(ctx, `SELECT array_agg(id) FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1 AND leased`, b.heavy).Scan(&ids))
	b.Reset()
	done, err := s.Ack(ctx, tenant, b.heavy, subscribers.AckRequest{Delivered: ids})
	require.NoError(t, err)
	require.Equal(t, room, done.Delivered)
	b.within("readAcked", "created_at < w.at + interval '1 millisecond'", pgplan.Bound{Indexes: []string{byKey}, Rows: 4 * room, Sorted: room, Blocks: 24 * room})

	b.Reset()
	_, _, err = subscribers.FetchDue(ctx, b.Pool, []subscribers.FetchRequest{{WebhookID: b.light[0], Room: room}})
	require.NoError(t, err)
	b.within("fetchDueRows", "NOT strict AND next_retry_at <= now()", pgplan.Bound{Indexes: []string{byDue}, Rows: 50, Sorted: 10, Blocks: 200})
	require.Equal(t, subscribers.DefaultPollLease, 5*time.Minute)
}
