package dispatch_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// pulled creates a webhook of kind pull.
func (r *rig) pulled(ordering subscribers.Ordering) events.WebhookID {
	r.t.Helper()
	w, _, err := subscribers.NewStore(r.pool, subscribers.Limits{}).Create(context.Background(), r.tenant, subscribers.Webhook{
		Kind: subscribers.KindPull, Events: []events.Type{events.EmailReceived}, Enabled: true, Ordering: ordering,
	})
	require.NoError(r.t, err)
	return w.ID
}

// The dispatchers fan out to a webhook that is polled, tell its consumers, and touch no row and no lease of it: not with a
// hint, not when they search, and not when the partitions get another owner.
func TestDeliveriesThatArePolledAreLeftToTheirConsumers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	store := subscribers.NewStore(r.pool, subscribers.Limits{})
	push, pull, inOrder := r.webhook("/push"), r.pulled(subscribers.OrderingNone), r.pulled(subscribers.OrderingStrict)
	type answer struct {
		list []subscribers.Polled
		err  error
	}
	waits := make(chan answer, 1)
	before := r.nc.NumSubscriptions()
	go func() {
		list, err := store.Poll(r.ctx(), r.nc, r.tenant, pull, subscribers.PollRequest{Wait: 30 * time.Second, Limit: 1, Lease: time.Hour})
		waits <- answer{list, err}
	}()
	require.Eventually(t, func() bool { return r.nc.NumSubscriptions() > before }, 20*time.Second, time.Millisecond)
	r.relay()
	stop := r.dispatcher()
	r.insert(20)
	first := <-waits
	require.NoError(t, first.err)
	require.Len(t, first.list, 1)
	r.settles(map[string]int{"delivered": 20, "pending": 40})
	r.wake(pull)
	polled, err := store.Poll(r.ctx(), nil, r.tenant, pull, subscribers.PollRequest{Limit: 9, Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, polled, 9)
	inHand, err := store.Poll(r.ctx(), nil, r.tenant, inOrder, subscribers.PollRequest{Limit: 5, Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, inHand, 5)

	// Another owner searches its partitions as soon as it has them, and delivers what comes next.
	stop()
	r.dispatcher()
	r.insert(1)
	r.settles(map[string]int{"delivered": 21, "pending": 42})
	// Its searches are every 5 s. The rows of the push webhook that nobody told of show that one is over.
	r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET status = 'pending', finished_at = NULL, next_retry_at = now() WHERE webhook_id = $1`, push)
	r.settles(map[string]int{"delivered": 21, "pending": 42})
	var leased, attempted int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*) FILTER (WHERE leased AND next_retry_at > now()), count(*) FILTER (WHERE attempts > 0)
		FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id <> $1`, push).Scan(&leased, &attempted))
	require.Equal(t, 1+9+5, leased)
	require.Zero(t, attempted)
	require.Equal(t, 42, r.sink.CountTo("/push"))
	require.Equal(t, 42, r.sink.Count())

	// The deliveries of a deleted one end: those that are leased with their leases.
	require.NoError(t, store.Delete(context.Background(), r.tenant, pull))
	r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE webhook_id = $1 AND status = 'pending'`, pull)
	require.NoError(t, r.nc.Publish(events.WakeWebhooks, nil))
	r.settles(map[string]int{"delivered": 21, "pending": 21, "failed": 21})
}
