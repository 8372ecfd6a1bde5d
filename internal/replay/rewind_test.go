package replay_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// pastEvents is how many events the fan-out reads a second time.
func pastEvents() int {
	if os.Getenv("FANMAIL_LONG") != "" {
		return 100_000
	}
	return 3_000
}

// idle waits until the fan-out has acknowledged the whole stream.
func (r *rig) idle() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		c, err := r.js.Consumer(context.Background(), stream.Events, stream.Fanout)
		if err != nil {
			return false // it is being created again
		}
		info := c.CachedInfo()
		return info.NumPending == 0 && info.NumAckPending == 0
	}, 5*time.Minute, 20*time.Millisecond)
}

func (r *rig) fanoutConsumer() *jetstream.ConsumerInfo {
	r.t.Helper()
	c, err := r.js.Consumer(context.Background(), stream.Events, stream.Fanout)
	require.NoError(r.t, err)
	return c.CachedInfo()
}

func TestResettingTheFanoutConsumerSendsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := context.Background()
	n := pastEvents()
	r.webhook("/in", func(w *subscribers.Webhook) { w.Filters.Labels = []string{"tenth"} })
	start := time.Now()
	r.insert(n, func(i int, e *events.Event) {
		if i%10 == 0 {
			e.Labels = []string{"tenth"}
		}
	})
	require.NoError(t, r.sink.WaitForPath(ctx, "/in", n/10))
	r.idle()
	// This webhook matches all events, but was created after their fan-out.
	r.webhook("/later")
	rows := `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries`
	created := r.count(rows)
	require.Equal(t, n/10, created)

	// Reset the consumer while the fan-out runs.
	began := time.Now()
	delivered, err := stream.Rewind(ctx, r.js, stream.Events, stream.Fanout, 1, nil)
	if v := r.nc.ConnectedServerVersion(); stream.Older(v, stream.ResetFrom) {
		require.ErrorContains(t, err, "the broker is NATS "+v+", and a reset needs "+stream.ResetFrom)
		require.False(t, r.fanoutConsumer().Paused)
		return
	}
	require.NoError(t, err)
	require.EqualValues(t, n, delivered, "the messages up to this come again")
	r.idle()
	t.Logf("%d events inserted and fanned out in %s, read again in %s", n, began.Sub(start), time.Since(began))
	middle, err := stream.SequenceAt(ctx, r.js, stream.Events, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, 1, middle)
	require.False(t, r.fanoutConsumer().Paused)

	// Delete the consumer. The fan-out creates it again at the beginning of the stream.
	before := r.fanoutConsumer().Created
	require.NoError(t, r.js.DeleteConsumer(ctx, stream.Events, stream.Fanout))
	require.Eventually(t, func() bool {
		c, err := r.js.Consumer(ctx, stream.Events, stream.Fanout)
		return err == nil && c.CachedInfo().Created.After(before)
	}, patience, 20*time.Millisecond)
	r.idle()
	// A consumer that was just created reports nothing pending, too.
	require.Eventually(t, func() bool {
		c, err := r.js.Consumer(ctx, stream.Events, stream.Fanout)
		return err == nil && c.CachedInfo().AckFloor.Stream >= uint64(n)
	}, 5*time.Minute, 20*time.Millisecond)

	require.Equal(t, created, r.count(rows), "no delivery was inserted")
	// A new event is delivered as usual, after the old ones.
	r.insert(1, func(_ int, e *events.Event) { e.Labels = []string{"tenth"} })
	require.NoError(t, r.sink.WaitForPath(ctx, "/later", 1))
	require.NoError(t, r.sink.WaitForPath(ctx, "/in", n/10+1))
	require.Equal(t, created+2, r.count(rows))
	require.Equal(t, n/10+2, r.sink.Count(), "nothing else was sent")
	next, err := stream.SequenceAt(ctx, r.js, stream.Events, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, n+2, next)
}
