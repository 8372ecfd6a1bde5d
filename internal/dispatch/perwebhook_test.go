package dispatch_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// TestAWebhooksDeliveriesCanBeSeenInTheBroker subscribes to the messages of one webhook, whose dispatcher gets all
// deliveries through the broker.
func TestAWebhooksDeliveriesCanBeSeenInTheBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	seen, other := r.webhook("/seen"), r.webhook("/other")
	sub, err := r.nc.SubscribeSync("fanmail.deliveries.*." + seen.String())
	require.NoError(t, err)
	require.NoError(t, r.nc.Flush())
	r.relay()
	r.replicaOf(fanout.Options{PerWebhook: true}, false)
	ids := r.insert(300)
	r.settles(map[string]int{"delivered": 600})

	of := map[string]string{} // the event of each delivery
	rows, err := r.pool.Query(r.ctx(), `SELECT id, event_id FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1`, seen)
	require.NoError(t, err)
	var (
		d events.DeliveryID
		e events.ID
	)
	for rows.Next() {
		require.NoError(t, rows.Scan(&d, &e))
		of[d.String()] = e.String()
	}
	require.NoError(t, rows.Err())
	require.Len(t, of, len(ids))
	for len(of) > 0 {
		m, err := sub.NextMsg(time.Minute)
		require.NoError(t, err, "%d deliveries are not in any message", len(of))
		dm, err := stream.DecodeDelivery(m.Data)
		require.NoError(t, err)
		require.Len(t, m.Header[stream.HeaderDelivery], len(dm.Deliveries))
		for i := range dm.Deliveries {
			got := &dm.Deliveries[i]
			require.Equal(t, seen, got.WebhookID, "not %s's", other)
			require.Equal(t, got.ID.String(), m.Header[stream.HeaderDelivery][i])
			require.Equal(t, of[got.ID.String()], m.Header[stream.HeaderEvent][i])
			delete(of, got.ID.String())
		}
	}
}
