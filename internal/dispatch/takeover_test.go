package dispatch_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestAMessageFromBeforeTheOwnersTimeIsSentOnlyIfItsRowStillWaits(t *testing.T) {
	t.Parallel()
	for name, delivered := range map[string]bool{"delivered by the owner before": true, "never begun": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			r := newRig(t)
			w := r.webhook("/once")
			stopRelay := r.relay()
			stop := r.dispatcher()
			r.insert(1)
			r.until(w, func(v row) bool { return v.Status == "delivered" })
			stop()
			stopRelay()

			// The broker forgot that it had been acknowledged.
			m, at := stream.DeliveryMessage{}, stream.MessageDelivery{WebhookID: w}
			var ev stream.MessageEvent
			var lease time.Time
			set := `last_attempt_at = last_attempt_at`
			if !delivered {
				set = `status = 'pending', attempts = 0, finished_at = NULL, next_retry_at = date_trunc('milliseconds', now()) + $1 * interval '1 microsecond'`
			}
			require.NoError(t, r.pool.QueryRow(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET `+set+`
				WHERE $1::bigint > 0 RETURNING id, event_id, created_at, coalesce(next_retry_at, now() + $1 * interval '1 microsecond')`,
				subscribers.FirstLease.Microseconds()).Scan(&at.ID, &ev.ID, &ev.CreatedAt, &lease))
			m.Lease = lease.UnixMicro()
			m.Events, m.Deliveries = []stream.MessageEvent{ev}, []stream.MessageDelivery{at}
			_, err := r.js.Publish(ctx, stream.PartitionSubject(events.Partition(w)), m.AppendTo(nil))
			require.NoError(t, err)

			r.dispatcher()
			want := 1
			if !delivered {
				want = 2
				r.until(w, func(v row) bool { return v.Status == "delivered" })
			}
			consumer, err := r.js.Consumer(ctx, stream.Deliveries, stream.PartitionConsumer(events.Partition(w)).Durable)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				info, err := consumer.Info(ctx)
				return err == nil && settled(info)
			}, 30*time.Second, 10*time.Millisecond)
			require.Equal(t, want, r.sink.CountTo("/once"))
		})
	}
}

// settled says that all messages have come and been acknowledged.
func settled(i *jetstream.ConsumerInfo) bool {
	return i.NumPending == 0 && i.NumAckPending == 0 && i.Delivered.Consumer > 0
}
