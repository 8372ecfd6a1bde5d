package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// handedOut is a message with the delivery of a stranger, on a stream of its own, whose
// row is under the message's lease.
type handedOut struct {
	d         *Dispatcher
	q         *delivery
	partition int
	consumer  jetstream.Consumer
}

func handOut(t *testing.T) *handedOut {
	t.Helper()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	ctx := writing(t, d)
	m := stream.DeliveryMessage{
		Lease:      q.Lease,
		Events:     []stream.MessageEvent{{ID: q.eventID, CreatedAt: q.createdAt, Envelope: q.Envelope}},
		Deliveries: []stream.MessageDelivery{{ID: q.ID, WebhookID: q.WebhookID}},
	}
	_, err := d.js.CreateStream(ctx, jetstream.StreamConfig{Name: "HANDED", Subjects: []string{"handed"}})
	require.NoError(t, err)
	_, err = d.js.Publish(ctx, "handed", m.AppendTo(nil))
	require.NoError(t, err)
	c, err := d.js.CreateConsumer(ctx, "HANDED", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	return &handedOut{d: d, q: q, partition: events.Partition(q.WebhookID), consumer: c}
}

// handled has the dispatcher handle the message once more, under its present ownership
// of the partition, which is younger than the message. It returns how often the message
// has come, and says whether the row is still under the message's lease.
func (l *handedOut) handled(t *testing.T) (deliveries uint64, untouched bool) {
	t.Helper()
	m, err := l.consumer.Next(jetstream.FetchMaxWait(30 * time.Second))
	require.NoError(t, err)
	meta, err := m.Metadata()
	require.NoError(t, err)
	in := newInbox(l.partition, l.d.owner.tenure(l.partition), 0)
	l.d.suspect(l.partition, l.d.clock.latest()+time.Hour.Microseconds())
	l.d.handle(t.Context(), m, in)
	require.NoError(t, l.d.outcomes.flush(t.Context()))
	require.NoError(t, l.d.pool.QueryRow(t.Context(), `SELECT status = 'pending' AND next_retry_at = $1 FROM fanmail.webhook_subscriber_deliveries`,
		time.UnixMicro(l.q.Lease)).Scan(&untouched))
	return meta.NumDelivered, untouched
}

// claims makes the partitions as another process left them, and has the dispatcher claim them.
func (l *handedOut) claims(t *testing.T, owner any, leasedUntil string) *tenure {
	t.Helper()
	_, err := l.d.pool.Exec(t.Context(), `UPDATE fanmail.partition_owners SET owner = $1, leased_until = `+leasedUntil, owner)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	require.NoError(t, l.d.owner.beat(ctx, roundPartitions{partitions{l.d}}))
	return l.d.owner.tenure(l.partition)
}

// What a process does with such a message would be unknown to the next owner, to whom a
// broker that forgets may hand it out as new.
func TestAMessageIsHandedBackOnceTheLeaseHasRunOut(t *testing.T) {
	t.Parallel()
	l := handOut(t)
	n, untouched := l.handled(t)
	require.EqualValues(t, 1, n)
	require.True(t, untouched, "its row is left alone")
	l.claims(t, nil, `'-infinity'`)
	n, untouched = l.handled(t)
	require.EqualValues(t, 2, n, "the broker sends it again")
	require.False(t, untouched, "the owner takes it")
}

func TestAMessageThatAFormerOwnerMayHaveTakenWaitsForItsAttempts(t *testing.T) {
	t.Parallel()
	died := handOut(t)
	former := died.claims(t, events.NewRandom[events.TenantKind](), `now() - interval '1 second'`)
	require.Positive(t, former.formerEnds(AttemptTimeout))
	require.Less(t, former.formerEnds(AttemptTimeout), AttemptTimeout)
	require.Negative(t, former.formerEnds(0))
	_, untouched := died.handled(t)
	require.True(t, untouched, "the former owner may have it in flight")

	// An owner that hands the partition over says so.
	died.d.owner.release(t.Context())
	var until time.Time
	require.NoError(t, died.d.pool.QueryRow(t.Context(), `SELECT leased_until FROM fanmail.partition_owners WHERE partition = $1 AND owner IS NULL`, died.partition).Scan(&until))
	require.Equal(t, former.former.Load(), until.UnixMicro())

	handedOver := handOut(t)
	require.LessOrEqual(t, handedOver.claims(t, nil, `'-infinity'`).formerEnds(AttemptTimeout), time.Duration(0))
	_, untouched = handedOver.handled(t)
	require.False(t, untouched, "nobody else may have it")
}

// The claim was committed and its answer was lost: whose the partition was is not known.
func TestAnOwnershipOfUnknownOriginWaitsForTheAttemptsOfAFormerOwner(t *testing.T) {
	t.Parallel()
	l := handOut(t)
	require.Positive(t, l.claims(t, l.d.owner.id, `now() + interval '6 seconds'`).formerEnds(AttemptTimeout))
	_, untouched := l.handled(t)
	require.True(t, untouched)
}

// A handover that has waited long enough leaves attempts with a long timeout behind.
func TestAHandoverWithAttemptsInFlightSaysSo(t *testing.T) {
	t.Parallel()
	l := handOut(t)
	l.claims(t, nil, `'-infinity'`)
	l.d.owner.leave(events.Partitions)
	for p := range l.d.owner.leaving {
		l.d.owner.leaving[p] = time.Now().Add(-2 * handover)
	}
	l.d.owner.shed(t.Context(), 0, unfinished{roundPartitions{partitions{l.d}}, l.partition})
	var unsure []int
	require.NoError(t, l.d.pool.QueryRow(t.Context(), `SELECT array_agg(partition::int) FROM fanmail.partition_owners WHERE owner IS NULL AND isfinite(leased_until)`).Scan(&unsure))
	require.Equal(t, []int{l.partition}, unsure)
}

// unfinished has attempts of one partition in flight.
type unfinished struct {
	roundPartitions
	partition int
}

func (u unfinished) unrecorded(p int) int {
	if p == u.partition {
		return 1
	}
	return 0
}

// A suspended machine's monotonic clock stands still; its wall clock has gone on when it
// wakes up.
func TestASuspendedMachineHoldsNoLeaseWhenItWakesUp(t *testing.T) {
	t.Parallel()
	l := handOut(t)
	l.claims(t, nil, `'-infinity'`)
	o := l.d.owner
	require.True(t, o.leaseValid())
	o.wall.Add(-time.Minute.Nanoseconds())
	require.False(t, o.leaseValid())

	before := l.d.clock.now()
	last := *l.d.clock.last.Load()
	last.wall = last.wall.Add(-time.Hour)
	l.d.clock.last.Store(&last)
	after := l.d.clock.now()
	require.GreaterOrEqual(t, after.Latest-before.Latest, time.Hour.Microseconds()-partitionLease.Microseconds(), "rows' leases may have run out")
	require.Less(t, after.Earliest-before.Earliest, time.Hour.Microseconds(), "nothing is known to be due")
}
