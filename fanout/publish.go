package fanout

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// publisher passes committed rows to their lanes, here or in other dispatchers.
type publisher struct {
	js    jetstream.JetStream
	lanes Lanes // nil: there is no dispatcher in this process
}

// publish feeds the rows of partitions that this process owns to its lanes. It
// publishes the other rows to their owners: one message for each partition, or
// several if it grows past [stream.MessageBytes]. For strict rows it sends hints.
func (p *publisher) publish(ctx context.Context, b *committed) error {
	var byPartition [events.Partitions][]int
	var offer []subscribers.Leased
	var offered []int
	for i := range b.rows {
		r, e := &b.rows[i], b.of[i]
		switch {
		case r.Strict:
			// The lane reads the table. If the hint is lost, it does so seconds later.
			subscribers.WakeLane(p.js.Conn(), r.WebhookID)
		case r.Due:
			p.lanes.Due(r.WebhookID)
		case p.lanes != nil:
			offered = append(offered, i)
			offer = append(offer, subscribers.Leased{
				Ref: r.Ref, WebhookID: r.WebhookID, EventID: r.EventID, Seq: r.Seq,
				MaxAttempts: subscribers.MaxAttempts, Lease: b.lease.UnixMicro(), Envelope: e.envelope, Traceparent: e.traceparent,
			})
		default:
			n := events.Partition(r.WebhookID)
			byPartition[n] = append(byPartition[n], i)
		}
	}
	if len(offer) > 0 {
		for _, i := range p.lanes.Feed(offer) {
			n := events.Partition(offer[i].WebhookID)
			byPartition[n] = append(byPartition[n], offered[i])
		}
	}
	var futures []jetstream.PubAckFuture
	for n, rows := range byPartition {
		for len(rows) > 0 {
			m := &nats.Msg{Subject: stream.PartitionSubject(n)}
			m.Data, rows = encode(b, rows, m)
			future, err := p.js.PublishMsgAsync(m)
			if err != nil {
				return fmt.Errorf("publish deliveries: %w", err)
			}
			futures = append(futures, future)
		}
	}
	if err := stream.Acknowledged(ctx, futures); err != nil {
		return fmt.Errorf("publish deliveries: %w", err)
	}
	return nil
}

// encode makes the data of one message from as many of the rows as fit, and
// returns the rest. Traceparents go into the message's header.
func encode(b *committed, rows []int, msg *nats.Msg) (data []byte, rest []int) {
	m := stream.DeliveryMessage{Lease: b.lease.UnixMicro()}
	size := 16
	var last *event
	for n, i := range rows {
		e, row := b.of[i], &b.rows[i]
		if e != last {
			envelope := e.envelope
			if len(envelope) > stream.InlineEnvelope {
				envelope = nil
			}
			if size += 64 + len(envelope); size > stream.MessageBytes && n > 0 {
				return m.AppendTo(make([]byte, 0, size)), rows[n:]
			}
			m.Events = append(m.Events, stream.MessageEvent{ID: e.ID, CreatedAt: e.CreatedAt, Envelope: envelope})
			last = e
			if e.traceparent != "" {
				stream.AddTraceparent(msg, len(m.Events)-1, e.traceparent)
			}
		}
		size += 34
		m.Deliveries = append(m.Deliveries, stream.MessageDelivery{ID: row.ID, WebhookID: row.WebhookID, Event: len(m.Events) - 1})
	}
	return m.AppendTo(make([]byte, 0, size)), nil
}
