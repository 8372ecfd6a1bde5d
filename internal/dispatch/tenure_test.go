package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// A process that was paused while it dialled may renew its lease for other
// partitions before the attempt goes on.
func TestNothingIsSentForAPartitionThatWentSinceTheStart(t *testing.T) {
	t.Parallel()
	s, arrived := receiver(t)
	d, q := stranger(t, s.URL)
	p := newPoster(d.o, func() bool { return true })
	e := d.registry.Get(q.WebhookID)
	q.tenure = d.owner.tenure(0)
	require.True(t, p.post(context.Background(), e, q, q.Envelope).Delivered)
	d.owner.endTenure(0)
	require.Equal(t, attempt.ErrLeaseLost.Error(), p.post(context.Background(), e, q, q.Envelope).Error)
	a, _ := d.add(q)
	require.Equal(t, scheduler.Foreign, a, "nor is it queued under the next ownership")
	s.Close() // waits for what has arrived
	require.Equal(t, int32(1), arrived.Load())
}

func TestAPartitionThatWentIsGivenUpBeforeItIsClaimedAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	d, _ := stranger(t, "http://127.0.0.1:65535/")
	holder := roundPartitions{partitions{d}}
	require.NoError(t, d.owner.beat(ctx, holder))
	require.NoError(t, d.owner.beat(ctx, holder))
	before := d.owner.tenure(3)
	require.True(t, before.holds())
	// Another dispatcher claimed it while this one was paused, and has handed it over.
	_, err := d.pool.Exec(ctx, `UPDATE fanmail.partition_owners SET owner = NULL, leased_until = '-infinity' WHERE partition = 3`)
	require.NoError(t, err)
	require.NoError(t, d.owner.beat(ctx, holder))
	require.Contains(t, d.ownedPartitions(), 3)
	require.False(t, before.holds(), "it is another ownership now")
	require.True(t, d.owner.tenure(3).holds())
}

// A broker that loses a node may forget that it has delivered a message.
func TestAMessageThatComesTwiceAsNewIsKnownByItsSequence(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	_, js := natstest.Connect(t)
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "TWICE", Subjects: []string{"twice"}})
	require.NoError(t, err)
	_, err = js.Publish(ctx, "twice", nil)
	require.NoError(t, err)
	first := func() jetstream.Msg {
		c, err := js.CreateConsumer(ctx, "TWICE", jetstream.ConsumerConfig{})
		require.NoError(t, err)
		m, err := c.Next()
		require.NoError(t, err)
		return m
	}
	d, _ := stranger(t, "http://127.0.0.1:65535/")
	in := newInbox(0, nil, 0)
	d.begin(in)
	require.False(t, in.redelivered(first()))
	require.True(t, in.redelivered(first()))
	d.begin(in)
	require.False(t, in.redelivered(first()), "a stream that was made anew begins at 1 again")
}

// The registry can't be read for a moment: the webhook may be there all the same.
func TestADeliveryOfAWebhookThatCantBeLoadedIsNotEnded(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	ctx := writing(t, d)
	closed, err := pg.Open(ctx, pgtest.URL(t), 1)
	require.NoError(t, err)
	closed.Close()
	d.registry = subscribers.NewRegistry(closed, nil, d.log)
	d.admitWaiting(ctx, q)
	require.NoError(t, d.outcomes.flush(ctx))
	var status string
	require.NoError(t, d.pool.QueryRow(ctx, `SELECT status FROM fanmail.webhook_subscriber_deliveries`).Scan(&status))
	require.Equal(t, "pending", status)
}
