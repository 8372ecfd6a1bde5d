package dispatch

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// aheadMessages of a partition may be fetched before they are handled.
	aheadMessages = 4
	// roomWait is how long a message waits for a fast lane before its
	// deliveries are parked.
	roomWait = 500 * time.Millisecond
)

// message is a broker message whose deliveries are in this process's hands. It
// is acknowledged when each is written or parked.
type message struct {
	msg  jetstream.Msg
	left atomic.Int32
}

func (m *message) settle() {
	if m != nil && m.left.Add(-1) == 0 {
		_ = m.msg.Ack()
	}
}

// receive takes a partition's messages until ctx ends, and calls started when
// they begin to come.
func (d *Dispatcher) receive(ctx context.Context, partition int, started func()) {
	var since atomic.Int64
	since.Store(d.clock.latest())
	source := stream.Source{
		JS: d.js, Streams: d.o.Streams, Stream: stream.Deliveries, Consumer: stream.PartitionConsumer(partition),
		Ahead: aheadMessages, Log: d.log, Started: func() {
			since.Store(d.clock.latest())
			started()
		},
	}
	_ = source.Run(ctx, func(m jetstream.Msg) { d.handle(ctx, m, since.Load()) })
}

// handle takes a message apart. Since is the database's time when the
// partition's messages began to come here.
func (d *Dispatcher) handle(ctx context.Context, m jetstream.Msg, since int64) {
	dm, err := stream.DecodeDelivery(m.Data())
	if err != nil {
		d.log.Error("a delivery message can't be read; the sweep takes its rows", zap.Error(err))
		_ = m.TermWithReason("malformed")
		return
	}
	src := &message{msg: m}
	if dm.Lease <= d.clock.latest() {
		// The rows are due again; the sweep has them or will.
		d.metrics.expired.Add(float64(len(dm.Deliveries)))
		_ = m.Ack()
		return
	}
	// What is older may have been the owner's before, and done; the broker's
	// count of deliveries dies with those of its nodes that kept it.
	again := dm.Lease-subscribers.FirstLease.Microseconds() < since
	if meta, err := m.Metadata(); err != nil || meta.NumDelivered > 1 {
		again = true // some of it may be done: only what is still under this lease is ours
	}
	src.left.Store(int32(len(dm.Deliveries)) + 1) //nolint:gosec // a few thousand at most
	if err := d.fetchEnvelopes(ctx, dm); err != nil {
		d.log.Warn("envelopes can't be read; the sweep takes the rows", zap.Error(err))
		_ = m.NakWithDelay(time.Second)
		return
	}
	shared := make([][]byte, len(dm.Events))
	for i := range dm.Events {
		// A copy of its own, so that one waiting delivery does not keep the
		// whole message in memory.
		shared[i] = slices.Clone(dm.Events[i].Envelope)
	}
	var traces []string
	if d.o.Tracer != nil {
		traces = stream.Traceparents(m.Headers(), len(dm.Events))
	}
	for i := range dm.Deliveries {
		md := &dm.Deliveries[i]
		ev := &dm.Events[md.Event]
		q := &delivery{src: src, Leased: subscribers.Leased{
			Ref:       subscribers.Ref{ID: md.ID, CreatedAt: ev.CreatedAt},
			WebhookID: md.WebhookID, EventID: ev.ID,
			MaxAttempts: subscribers.MaxAttempts, Lease: dm.Lease, Envelope: shared[md.Event],
		}}
		if traces != nil {
			q.Traceparent = traces[md.Event]
		}
		if again {
			d.reclaim(ctx, q)
			continue
		}
		d.enqueue(ctx, q)
	}
	src.settle() // its own share: the message was taken apart whole
	d.fill()
}

// Full says that a webhook's lane is here and has no room.
func (d *Dispatcher) Full(webhook events.WebhookID) bool { return d.sched.full(webhook) }

// Due takes the hint that a new row of a webhook is due.
func (d *Dispatcher) Due(webhook events.WebhookID) {
	d.metrics.parked.Inc()
	if e := d.registry.Get(webhook); e != nil {
		d.sched.hint(webhook, e, d.clock.latest())
	}
}

// Feed takes new deliveries from the fan-out in this process into the lanes of
// the partitions that it owns, and gives the indexes of those that it did not
// take. Nothing waits here: what a lane has no room for goes the long way.
func (d *Dispatcher) Feed(batch []subscribers.Leased) (left []int) {
	may := d.owner.may()
	for i := range batch {
		e := d.registry.Get(batch[i].WebhookID)
		if !may || e == nil || e.Deleted || e.Strict {
			left = append(left, i)
			continue
		}
		q := &delivery{Leased: batch[i]}
		switch d.sched.add(q, e) {
		case queued, duplicate:
		case full:
			d.park(q)
		case busy, foreign:
			left = append(left, i)
		}
	}
	d.fill()
	return left
}

// Rank is this dispatcher's place among those that are alive, from 0, and a
// channel that closes when it changes.
func (d *Dispatcher) Rank() (rank int, changed <-chan struct{}) {
	d.owner.mu.Lock()
	defer d.owner.mu.Unlock()
	return d.owner.rank, d.owner.reranked
}

// reclaim queues a delivery of a message that was sent before, if its lease is
// still the one in the message.
func (d *Dispatcher) reclaim(ctx context.Context, q *delivery) {
	if d.sched.holds(q.ID) {
		d.metrics.duplicates.Inc()
		q.src.settle()
		return
	}
	d.ledger.add(entry{kind: entryRenew, d: q, done: func(lease int64, ok bool) {
		if !ok {
			d.metrics.expired.Inc()
			q.src.settle()
			return
		}
		q.Lease = lease
		e := d.entryOf(ctx, q)
		if e == nil || e.Deleted {
			d.end(q, "webhook_deleted", "the webhook was deleted")
			return
		}
		switch d.sched.add(q, e) {
		case queued:
			d.fill()
		case full, busy, foreign: // the ledger must not wait for a lane
			d.park(q)
		case duplicate:
			q.src.settle()
		}
	}})
}

// enqueue puts a leased delivery into its lane, parks it where the lane is
// full, and waits a moment where the lane drains fast.
func (d *Dispatcher) enqueue(ctx context.Context, q *delivery) {
	e := d.entryOf(ctx, q)
	if e == nil || e.Deleted {
		d.end(q, "webhook_deleted", "the webhook was deleted")
		return
	}
	if e.Strict && q.src != nil {
		d.park(q) // it became strict a moment ago: its turn is the table's to say
		return
	}
	v := d.sched.add(q, e)
	if v == busy {
		d.fill()
		v = d.waitForRoom(ctx, q, e)
	}
	switch v {
	case queued:
	case duplicate:
		d.metrics.duplicates.Inc()
		q.src.settle()
	case full, busy, foreign:
		// A partition that went while its rows were being leased: parked, they
		// are the new owner's at once, and not when their lease has run out.
		d.park(q)
	}
}

// waitForRoom offers a delivery to a lane that drains fast until it fits, or
// for roomWait.
func (d *Dispatcher) waitForRoom(ctx context.Context, q *delivery, e *subscribers.Entry) verdict {
	timer := time.NewTimer(roomWait)
	defer timer.Stop()
	for {
		room := d.sched.room()
		if v := d.sched.add(q, e); v != busy {
			return v
		}
		select {
		case <-room:
		case <-timer.C:
			return full
		case <-ctx.Done():
			return full
		}
	}
}

// entryOf finds the delivery's webhook; one made a moment ago may not be known
// yet. nil means that there is none.
func (d *Dispatcher) entryOf(ctx context.Context, q *delivery) *subscribers.Entry {
	if e := d.registry.Get(q.WebhookID); e != nil {
		return e
	}
	if err := d.registry.Load(ctx); err != nil {
		d.log.Warn("webhooks can't be read", zap.Error(err))
	}
	return d.registry.Get(q.WebhookID)
}

func (d *Dispatcher) fetchEnvelopes(ctx context.Context, m *stream.DeliveryMessage) error {
	fetch := outbox.EventRefs{}
	for i := range m.Events {
		if len(m.Events[i].Envelope) == 0 {
			fetch.Add(m.Events[i].ID, m.Events[i].CreatedAt)
		}
	}
	if fetch.Len() == 0 {
		return nil
	}
	found, err := outbox.Envelopes(ctx, d.pool, fetch)
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
