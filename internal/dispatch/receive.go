package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// aheadMessages of a partition may be fetched before they are handled.
const aheadMessages = 4

// receivePause is how long the broker waits before it sends a message again that
// could not be taken: its envelopes could not be read, or the partitions' lease has
// run out.
const receivePause = time.Second

// receive takes a partition's messages until ctx ends, and calls started when
// they begin to come.
func (d *Dispatcher) receive(ctx context.Context, partition int, t *tenure, started func()) {
	in := newInbox(partition, t, d.clock.latest())
	d.begin(in)
	d.inboxes[partition].Store(in)
	defer d.inboxes[partition].CompareAndSwap(in, nil)
	source := stream.Source{
		JS: d.js, Streams: d.o.Streams, Stream: stream.Deliveries, Consumer: stream.PartitionConsumer(partition),
		Ahead: aheadMessages, Heartbeat: inboxHeartbeat, Log: d.log,
		Started: func() {
			d.begin(in)
			d.ask(in)
			started()
		},
		Silent: in.doubt,
	}
	_ = source.Run(ctx, func(m jetstream.Msg) {
		in.busy.Store(true)
		d.handle(ctx, m, in)
		in.hear()
		in.busy.Store(false)
	})
}

// begin says that the inbox's messages begin to come: older leases are suspect.
func (d *Dispatcher) begin(in *inbox) {
	in.last.Store(0)
	d.suspect(in.partition, d.clock.latest())
}

// suspect says that somebody else may have had the rows of a partition whose first
// lease began before a time: their lease must be renewed before they are queued.
func (d *Dispatcher) suspect(partition int, began int64) {
	d.input(func(s *scheduler.Scheduler, _ scheduler.Now) {
		s.Suspect(partition, began+subscribers.FirstLease.Microseconds())
	})
}

// suspected says that a lease of a partition is suspect.
func (d *Dispatcher) suspected(partition int, lease int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Suspected(partition, lease)
}

// emptyMessage is a message without deliveries.
var emptyMessage = (&stream.DeliveryMessage{}).AppendTo(nil)

// ask sends a message without deliveries to an inbox of this process, which ends the
// doubt when it comes.
func (d *Dispatcher) ask(in *inbox) {
	in.doubt()
	if d.nc.IsConnected() {
		_ = d.nc.Publish(stream.PartitionSubject(in.partition), emptyMessage)
	}
}

// handle takes a message apart.
func (d *Dispatcher) handle(ctx context.Context, m jetstream.Msg, in *inbox) {
	if !in.tenure.holds() {
		// The message may be younger than the next owner's time. What this process
		// does to its rows would be unknown to that owner.
		_ = m.NakWithDelay(receivePause)
		return
	}
	if err := stream.NoAnswer(m.Headers()); err != nil {
		d.metrics.forged.Inc()
		d.log.Error("a delivery message was dropped", zap.Int("partition", in.partition), zap.Error(err))
		_ = m.TermWithReason("forged")
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
	redelivered := in.redelivered(m) || d.suspected(in.partition, dm.Lease)
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
	var heads webhookrequest.HeadReader
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

// envelopesTimeout bounds the reading of a message's envelopes.
const envelopesTimeout = 30 * time.Second

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
	ctx, cancel := context.WithTimeout(ctx, envelopesTimeout)
	defer cancel()
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
