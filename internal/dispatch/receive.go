package dispatch

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// aheadMessages of a partition may be fetched before they are handled.
const aheadMessages = 4

// receivePause is how long the broker waits before it sends a message again that
// could not be taken: its envelopes could not be read, or the partitions' lease has
// run out.
const receivePause = time.Second

// inbox is what is known of the messages of a partition that this process owns.
type inbox struct {
	tenure *tenure
	since  atomic.Int64  // the database's time when they began to come
	last   atomic.Uint64 // the highest sequence of the stream that has come since
}

// begins says that messages begin to come.
func (b *inbox) begins(now int64) {
	b.since.Store(now)
	b.last.Store(0)
}

// receive takes a partition's messages until ctx ends, and calls started when
// they begin to come.
func (d *Dispatcher) receive(ctx context.Context, partition int, t *tenure, started func()) {
	in := &inbox{tenure: t}
	in.begins(d.clock.latest())
	source := stream.Source{
		JS: d.js, Streams: d.o.Streams, Stream: stream.Deliveries, Consumer: stream.PartitionConsumer(partition),
		Ahead: aheadMessages, Log: d.log, Started: func() {
			in.begins(d.clock.latest())
			started()
		},
	}
	_ = source.Run(ctx, func(m jetstream.Msg) { d.handle(ctx, m, in) })
}

// handle takes a message apart.
func (d *Dispatcher) handle(ctx context.Context, m jetstream.Msg, in *inbox) {
	if !in.tenure.holds() {
		// The message may be younger than the next owner's time. What this process
		// does to its rows would be unknown to that owner.
		_ = m.NakWithDelay(receivePause)
		return
	}
	dm, err := stream.DecodeDelivery(m.Data())
	if err != nil {
		d.log.Error("a delivery message can't be read; its rows are fetched from the table", zap.Error(err))
		_ = m.TermWithReason("malformed")
		return
	}
	if dm.Lease <= d.clock.latest() {
		// The rows are due again, and are fetched from the table.
		d.metrics.expired.Add(float64(len(dm.Deliveries)))
		_ = m.Ack()
		return
	}
	redelivered := in.redelivered(m, dm.Lease)
	if wait := in.tenure.formerEnds(d.longestAttempt(dm)); redelivered && wait > 0 {
		// A former owner that died or is paused may have begun to send it.
		_ = m.NakWithDelay(wait)
		return
	}
	if err := d.readEnvelopes(ctx, dm); err != nil {
		d.log.Warn("envelopes can't be read; the message is received again", zap.Error(err))
		_ = m.NakWithDelay(receivePause)
		return
	}
	src := &message{msg: m}
	src.left.Store(int32(len(dm.Deliveries)) + 1) //nolint:gosec // a few thousand at most
	for _, q := range d.deliveries(m, dm) {
		q.message, q.tenure = src, in.tenure
		if redelivered {
			d.reclaim(q)
		} else {
			d.admitWaiting(ctx, q)
		}
	}
	src.done() // its own share: the message is taken apart
	d.input(func(*scheduler.Scheduler, scheduler.Now) {})
}

// longestAttempt bounds an attempt of any of the message's deliveries.
func (d *Dispatcher) longestAttempt(dm *stream.DeliveryMessage) time.Duration {
	longest := AttemptTimeout
	for i := range dm.Deliveries {
		if e := d.registry.Get(dm.Deliveries[i].WebhookID); e != nil {
			longest = max(longest, e.Timeout)
		}
	}
	return longest
}

// redelivered says that some of the message's deliveries may be finished, so
// that each must prove that its row is still under the message's lease. That
// holds too for messages older than our ownership: the previous owner may have
// finished them, and the broker's count of deliveries is lost with its nodes. So
// this process remembers how far the stream has come.
func (b *inbox) redelivered(m jetstream.Msg, lease int64) bool {
	meta, err := m.Metadata()
	if err != nil || meta.NumDelivered > 1 {
		return true
	}
	if meta.Sequence.Stream <= b.last.Load() {
		return true
	}
	b.last.Store(meta.Sequence.Stream)
	return lease-subscribers.FirstLease.Microseconds() < b.since.Load()
}

// deliveries returns the deliveries of a message.
func (d *Dispatcher) deliveries(m jetstream.Msg, dm *stream.DeliveryMessage) []*delivery {
	envelopes := make([][]byte, len(dm.Events))
	for i := range dm.Events {
		// A copy, so that one waiting delivery does not keep the whole message in
		// memory.
		envelopes[i] = slices.Clone(dm.Events[i].Envelope)
	}
	var traces []string
	if d.o.Tracer != nil {
		traces = stream.Traceparents(m.Headers(), len(dm.Events))
	}
	out := make([]*delivery, len(dm.Deliveries))
	var heads headReader
	for i := range dm.Deliveries {
		md := &dm.Deliveries[i]
		ev := &dm.Events[md.Event]
		out[i] = newDelivery(&subscribers.Leased{
			Ref:       subscribers.Ref{ID: md.ID, CreatedAt: ev.CreatedAt},
			WebhookID: md.WebhookID, EventID: ev.ID, MaxAttempts: d.maxAttempts(md.WebhookID),
			Lease: dm.Lease, Envelope: envelopes[md.Event],
		}, fromStream, &heads)
		if traces != nil {
			out[i].traceparent = traces[md.Event]
		}
	}
	return out
}

// maxAttempts is the number of attempts of a webhook's new deliveries.
func (d *Dispatcher) maxAttempts(id events.WebhookID) int {
	if w := d.registry.Get(id); w != nil {
		return w.MaxAttempts
	}
	return subscribers.MaxAttempts
}

// reclaim has the delivery of a redelivered message queued, if its row is still
// under the message's lease.
func (d *Dispatcher) reclaim(q *delivery) {
	d.mu.Lock()
	held := d.sched.Holds(q.ID)
	d.mu.Unlock()
	if held {
		d.metrics.duplicates.Inc()
		q.message.done()
		return
	}
	d.outcomes.add(entry{kind: entryReclaim, d: q})
}

// readEnvelopes reads the envelopes that were too large for the message.
func (d *Dispatcher) readEnvelopes(ctx context.Context, m *stream.DeliveryMessage) error {
	missing := outbox.EventRefs{}
	for i := range m.Events {
		if len(m.Events[i].Envelope) == 0 {
			missing.Add(m.Events[i].ID, m.Events[i].CreatedAt)
		}
	}
	if missing.Len() == 0 {
		return nil
	}
	found, err := outbox.Envelopes(ctx, d.pool, missing)
	if err != nil {
		return err
	}
	for i := range m.Events {
		if len(m.Events[i].Envelope) == 0 {
			m.Events[i].Envelope = found[m.Events[i].ID].Envelope
		}
	}
	return nil
}
