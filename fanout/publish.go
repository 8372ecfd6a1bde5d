package fanout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// publisher passes committed rows to their lanes, here or in other dispatchers.
type publisher struct {
	table  *pgxpool.Pool // where rows are released
	js     jetstream.JetStream
	lanes  Lanes // nil: there is no dispatcher in this process
	broker stream.Health
	// perWebhook: a message has deliveries of one webhook alone.
	perWebhook bool
}

// away reports whether no delivery message can be published.
func (p *publisher) away() bool { return p.broker.Failing() || !p.js.Conn().IsConnected() }

// publish feeds the rows of partitions that this process owns to its lanes. It
// publishes the other rows to their owners. For rows that are due it sends hints.
func (p *publisher) publish(ctx context.Context, b *committed) error {
	var left, offered []int
	var offer []subscribers.Leased
	for i := range b.rows {
		r, e := &b.rows[i], b.of[i]
		switch {
		case r.Waits: // its owner looks for it when the webhook is resumed
		case r.Polled: // see wakePolls
		case r.Strict || r.Due:
			// Its owner reads the table. If the hint is lost, it does so seconds later.
			p.hint(r.WebhookID)
		case p.lanes != nil:
			offered = append(offered, i)
			offer = append(offer, subscribers.Leased{
				Ref: r.Ref, WebhookID: r.WebhookID, EventID: r.EventID, Seq: r.Seq,
				MaxAttempts: r.MaxAttempts, Lease: b.lease.UnixMicro(), Envelope: e.envelope, Traceparent: e.traceparent,
			})
		default:
			left = append(left, i)
		}
	}
	p.wakePolls(b)
	if len(offer) > 0 {
		for _, i := range p.lanes.Feed(offer) {
			left = append(left, offered[i])
		}
	}
	switch {
	case len(left) == 0:
		return nil
	case p.away():
		return p.release(ctx, b, left)
	}
	return p.send(ctx, b, left)
}

// wakePolls hints to those who poll webhooks of the batch, once for each webhook.
func (p *publisher) wakePolls(b *committed) {
	var woken map[events.WebhookID]bool // most batches have none
	for i := range b.rows {
		r := &b.rows[i]
		if !r.Polled || woken[r.WebhookID] || p.js == nil {
			continue
		}
		if woken == nil {
			woken = map[events.WebhookID]bool{}
		}
		woken[r.WebhookID] = true
		subscribers.WakePolls(p.js.Conn(), r.WebhookID)
	}
}

// hint tells the owner of a webhook's partition of rows that are due.
func (p *publisher) hint(webhook events.WebhookID) {
	switch {
	case p.lanes != nil && p.lanes.Owns(webhook):
		p.lanes.Due(webhook)
	case p.js.Conn().IsConnected():
		subscribers.WakeLane(p.js.Conn(), webhook)
	}
}

// shipment is rows of one subject.
type shipment struct {
	subject string
	rows    []int
}

// shipments divides rows by their subjects.
func (p *publisher) shipments(b *committed, rows []int) []shipment {
	of := make(map[events.WebhookID]int, len(rows))
	var all []shipment
	for _, i := range rows {
		key := b.rows[i].WebhookID
		if !p.perWebhook {
			key, _ = events.PartitionRange(events.Partition(key)) // the same for the whole partition
		}
		n, ok := of[key]
		if !ok {
			n = len(all)
			of[key] = n
			all = append(all, shipment{subject: p.subject(key)})
		}
		all[n].rows = append(all[n].rows, i)
	}
	return all
}

// subject returns the subject of a webhook's deliveries.
func (p *publisher) subject(webhook events.WebhookID) string {
	if p.perWebhook {
		return stream.WebhookSubject(webhook)
	}
	return stream.PartitionSubject(events.Partition(webhook))
}

// send publishes the rows, in a message for each subject and
// [stream.MessageBytes]. Rows whose message the broker has refused are released.
func (p *publisher) send(ctx context.Context, b *committed, rows []int) error {
	var futures []jetstream.PubAckFuture
	var sent [][]int // the rows of each
	var refused []int
	var failure error
	for _, s := range p.shipments(b, rows) {
		for rows := s.rows; len(rows) > 0; {
			m := &nats.Msg{Subject: s.subject}
			all := rows
			m.Data, rows = p.encode(b, rows, m)
			in := all[:len(all)-len(rows)]
			future, err := p.js.PublishMsgAsync(m)
			if err != nil { // it was not sent
				refused, failure = append(refused, in...), err
				continue
			}
			futures, sent = append(futures, future), append(sent, in)
		}
	}
	for i, err := range stream.Acknowledgements(ctx, stream.Deliveries, futures) {
		if err == nil {
			continue
		}
		failure = err
		// The broker may have the others after all, and their leases with them.
		if stream.Refused(err) {
			refused = append(refused, sent[i]...)
		}
	}
	p.broker.Set(failure)
	if failure == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("publish deliveries: %w", failure), p.release(ctx, b, refused))
}

// release makes leased rows due at once, and hints.
func (p *publisher) release(ctx context.Context, b *committed, rows []int) error {
	held := make([]subscribers.Lease, len(rows))
	for i, row := range rows {
		held[i] = subscribers.Lease{Ref: b.rows[row].Ref, Lease: b.lease.UnixMicro()}
	}
	if _, err := subscribers.WriteOutcomes(ctx, p.table, &subscribers.OutcomeBatch{Release: held}); err != nil {
		return fmt.Errorf("release deliveries: %w", err)
	}
	for _, row := range rows {
		p.hint(b.rows[row].WebhookID)
	}
	return nil
}

// probeEvery is how often a stream that took no delivery message is tried.
const probeEvery = time.Second

// runProbe tries, until ctx ends, whether the broker takes delivery messages again
// after it did not. The message has no deliveries: none is at risk.
func (p *publisher) runProbe(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	empty := (&stream.DeliveryMessage{}).AppendTo(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !p.broker.Failing() || !p.js.Conn().IsConnected() {
			continue
		}
		future, err := p.js.PublishAsync(stream.PartitionSubject(0), empty)
		if err == nil {
			err = stream.Acknowledged(ctx, stream.Deliveries, []jetstream.PubAckFuture{future})
		}
		p.broker.Set(err)
	}
}

// idsBytes is about the size of a delivery's ids in headers.
const idsBytes = 110

// encode makes the data of one message from as many of the rows as fit, and
// returns the rest. Traceparents go into the message's header.
func (p *publisher) encode(b *committed, rows []int, msg *nats.Msg) (data []byte, rest []int) {
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
		if p.perWebhook {
			size += idsBytes
			stream.AddIDs(msg, row.ID, e.ID)
		}
		m.Deliveries = append(m.Deliveries, stream.MessageDelivery{ID: row.ID, WebhookID: row.WebhookID, Event: len(m.Events) - 1})
	}
	return m.AppendTo(make([]byte, 0, size)), nil
}
