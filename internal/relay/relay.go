package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
	"github.com/fanmail-dev/fanmail/outbox"
)

const (
	// batchEvents bounds one round. The broker takes at most 1,000 messages in an
	// atomic batch.
	batchEvents = 500

	// smallBatch is the size up to which single messages are faster than an
	// atomic batch: for a batch the broker creates and removes a store.
	smallBatch = 8

	// atomicDisabled is the broker's error code for a stream that takes no atomic
	// batches, such as one on a single server.
	atomicDisabled = 10174

	idlePoll = 40 * time.Millisecond
	busyPoll = 2 * time.Millisecond // rows came without a hint within the last second
)

// Options configure a relay. The zero value is usable.
type Options struct {
	// Log may be nil.
	Log *zap.Logger
	// Registerer receives the metrics; nil: none.
	Registerer prometheus.Registerer
	// Streams are created again if the broker has lost them.
	Streams stream.Options
	// Tracer makes the spans of traced events; nil: none are made.
	Tracer trace.Tracer
}

// Relay publishes the outbox. Create one with [New].
type Relay struct {
	pool    *pgxpool.Pool
	nc      *nats.Conn
	js      jetstream.JetStream
	streams stream.Options
	log     *zap.Logger
	metrics *metrics
	tracer  trace.Tracer
	broker  stream.Health
	looker  looker
	// singly is set once the stream has refused atomic batches.
	singly bool
}

// New returns a relay; call Run to start it.
func New(pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, o Options) *Relay {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(newBacklog(pool))
	}
	r := &Relay{pool: pool, nc: nc, js: js, streams: o.Streams, log: o.Log.Named("relay"), metrics: newMetrics(o.Registerer), tracer: o.Tracer}
	r.looker.nc, r.looker.js, r.looker.streams, r.looker.log, r.looker.broker = nc, js, o.Streams, r.log, &r.broker
	return r
}

// Publishing returns how publishing to MAIL_EVENTS stands. While it fails, a
// dispatcher fans out from the outbox.
func (r *Relay) Publishing() stream.Publishing {
	p := r.broker.Publishing(stream.Events)
	p.PastBroker = p.Err != nil
	return p
}

// Run relays until ctx ends, and returns once the round under way is done. While
// the database or the broker is down it retries with exponential backoff.
func (r *Relay) Run(ctx context.Context) error {
	hints, err := newHints(r.nc)
	if err != nil {
		return err
	}
	defer hints.end()

	var looks sync.WaitGroup
	looks.Go(func() { r.looker.run(ctx) })
	defer looks.Wait()

	// A round ignores the end of ctx, so that leased events are published.
	round := context.WithoutCancel(ctx)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	poll, pacing := poller{}, pacer{at: time.Now()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	hinted, paced := true, false
	for {
		began := time.Now()
		n, err := r.turn(round, hinted)
		wait := poll.next(n, hinted, time.Now())
		hint := hints.wake
		if n > 0 && n < batchEvents {
			// Under load, wait a little so that the next round is larger: all
			// later steps then work in larger batches too.
			if !pass(ctx, pacing.pause(n, began, time.Now())) {
				return nil
			}
		}
		before := paced
		paced = !hints.follow(pacing.rate(time.Now()))
		switch {
		case err != nil:
			wait = pause.NextBackOff()
			hint = nil // a hint says nothing about the failure
			r.log.Warn("a round failed; trying again", zap.Error(err), zap.Duration("in", wait))
		case n > 0 || !r.broker.Failing(): // an empty round says nothing about the broker
			pause.Reset()
			if paced || before { // before: a hint may have been lost meanwhile
				wait = min(wait, pacing.spacing(time.Now())-time.Since(began))
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			hinted = n == batchEvents || paced
		case <-hint:
			hinted = true
		}
	}
}

// pass waits for d; it returns false if ctx ends first.
func pass(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// poller decides when to look at the outbox again. Producers that call
// [outbox.Wake] need no fast polling, so the outbox is polled fast only for a
// second after rows that came without a hint. A hint that follows shows that the
// timer was merely faster, and ends the fast polling.
type poller struct {
	unhinted time.Time
}

func (p *poller) next(n int, hinted bool, now time.Time) time.Duration {
	switch {
	case hinted:
		p.unhinted = time.Time{}
	case n > 0:
		p.unhinted = now
	}
	switch {
	case n == batchEvents:
		return 0 // there is more
	case now.Sub(p.unhinted) < time.Second:
		return busyPoll
	}
	return idlePoll
}

// turn runs a round. Without a hint it first checks whether there are rows, which
// costs a fraction of a round.
func (r *Relay) turn(ctx context.Context, hinted bool) (int, error) {
	if !hinted {
		ask, cancel := context.WithTimeoutCause(ctx, roundTime, errRoundTime)
		some, err := outbox.Due(ask, r.pool)
		cancel()
		if err != nil {
			r.metrics.failures.WithLabelValues(partyDatabase).Inc()
			return 0, err
		}
		if !some {
			return 0, nil
		}
	}
	return r.round(ctx)
}

// roundTime bounds a round, and the question before it.
const roundTime = 30 * time.Second

// errRoundTime is the cause when a round is cancelled.
var errRoundTime = errors.New("a round of the relay took over 30 s")

// round leases a batch, publishes it, and returns the number of events. While the
// broker fails, the batch is one event: the others stay free for the dispatchers.
func (r *Relay) round(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTime, errRoundTime)
	defer cancel()
	if !r.nc.IsConnected() {
		return 0, r.failed(stream.ErrAway)
	}
	limit := batchEvents
	if r.broker.Failing() {
		limit = 1
	}
	entries, err := outbox.Lease(ctx, r.pool, limit)
	if err != nil {
		r.metrics.failures.WithLabelValues(partyDatabase).Inc()
		return 0, err
	}
	if len(entries) == 0 {
		return 0, nil
	}
	msgs := make([]*nats.Msg, len(entries))
	for i := range entries {
		msgs[i] = r.message(&entries[i])
	}
	faults.At(faults.OutboxLeased)
	r.metrics.batch.Observe(float64(len(msgs)))
	if err := traced(ctx, r.tracer, msgs, r.publish); err != nil {
		for _, m := range msgs {
			r.looker.largest.Store(max(r.looker.largest.Load(), int64(len(m.Data))))
		}
		err = r.failed(fmt.Errorf("publish: %w", err))
		release := outbox.Release(ctx, r.pool, entries)
		// Without a leader nobody answers; the next round asks again.
		ask, stop := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
		defer stop()
		ensure := stream.Ensure(ask, r.js, r.streams)
		return 0, errors.Join(err, release, ensure)
	}
	faults.At(faults.OutboxPublished)
	r.looker.largest.Store(0)
	if r.broker.Set(nil) {
		r.log.Info("the broker takes events again")
	}
	return len(msgs), nil
}

// failed records a failure of the broker, and returns it.
func (r *Relay) failed(err error) error {
	r.metrics.failures.WithLabelValues(partyBroker).Inc()
	r.broker.Set(err)
	return err
}

// message makes the message of an entry and counts it.
func (r *Relay) message(e *outbox.Entry) *nats.Msg {
	msg := stream.EncodeEvent(&e.Record, e.Envelope)
	msgID := e.ID.String()
	turn := turnFirst
	if e.Publishes > 1 {
		// With the same id the broker would drop the message as a duplicate.
		msgID += ":" + strconv.Itoa(e.Publishes)
		turn = turnAgain
	} else {
		r.metrics.lag.Observe(e.Age.Seconds())
	}
	r.metrics.published.WithLabelValues(turn).Inc()
	msg.Header[jetstream.MsgIDHeader] = []string{msgID}
	if e.Traceparent != "" {
		msg.Header[tracecontext.Header] = []string{e.Traceparent}
	}
	return msg
}

// publish sends the messages in order and returns once the broker has all of
// them. An atomic batch costs a replicated stream one commit. If the broker
// refuses the batch (one duplicate is enough), the messages go one by one.
func (r *Relay) publish(ctx context.Context, msgs []*nats.Msg) error {
	if len(msgs) > smallBatch && !r.singly {
		batch, stop := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
		ack, err := jetstreamext.PublishMsgBatch(batch, r.js, msgs)
		silence := context.Cause(batch)
		stop()
		switch {
		case err == nil && ack.Stream != stream.Events:
			return &stream.ForeignError{Stream: stream.Events, Foreign: ack.Stream}
		case err == nil:
			return nil
		case silence != nil:
			return silence
		case errors.Is(err, nats.ErrConnectionClosed):
			return err
		}
		var refused *jetstream.APIError
		r.singly = errors.As(err, &refused) && refused.ErrorCode == atomicDisabled
		r.log.Debug("the broker refused an atomic batch; publishing one by one", zap.Error(err), zap.Int("events", len(msgs)), zap.Bool("from_now_on", r.singly))
	}
	futures := make([]jetstream.PubAckFuture, 0, len(msgs))
	for _, m := range msgs {
		// The batch has left headers of its own.
		for _, name := range []string{"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
			m.Header.Del(name)
		}
		f, err := r.js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	return stream.Acknowledged(ctx, stream.Events, futures)
}
