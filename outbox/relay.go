package outbox

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/crash"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/stream"
	"github.com/fanmail-dev/fanmail/telemetry"
)

const (
	// FirstLease is how long a published event may take to be fanned out
	// before it is published again. Each further turn doubles it, to MaxLease,
	// so that dispatchers that are away for long don't fill the stream with
	// copies.
	FirstLease = 30 * time.Second
	// MaxLease is the longest of these leases.
	MaxLease = 5 * time.Minute

	// batchEvents and batchBytes bound one round; the broker takes at most
	// 1,000 messages in an atomic batch.
	batchEvents = 500

	// smallBatch is what goes out faster, and for less of the broker's time,
	// message by message where the stream takes atomic batches: for one of them
	// it makes a store and removes it, but syncs once.
	smallBatch = 8

	// pace is the least time from the start of a round to the next, unless the
	// round was full. Events further apart than that don't meet it. After a
	// round of several, which shows that events come faster than rounds, the
	// relay also waits as long as the round took, up to maxGather: rounds of
	// twice the size halve what Postgres and the broker do for each event.
	pace      = 4 * time.Millisecond
	maxGather = 20 * time.Millisecond

	// atomicDisabled is the broker's error code for a stream that takes no
	// atomic batches, such as that of a single server.
	atomicDisabled = 10174

	idlePoll = 40 * time.Millisecond
	busyPoll = 2 * time.Millisecond // rows came without a hint within the last second
)

// RelayOptions say how a relay runs.
type RelayOptions struct {
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: no metrics
	// Streams are made again where the broker has lost them.
	Streams stream.Options
	// Tracer makes the spans of traced events; nil: none are made.
	Tracer trace.Tracer
}

// Relay publishes the outbox. Make one with [NewRelay].
type Relay struct {
	pool    *pgxpool.Pool
	nc      *nats.Conn
	js      jetstream.JetStream
	streams stream.Options
	log     *zap.Logger
	metrics *metrics
	tracer  trace.Tracer
	// singly says that the stream takes no atomic batches.
	singly bool
}

// NewRelay makes a relay; Run starts it.
func NewRelay(pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, o RelayOptions) *Relay {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(newBacklog(pool))
	}
	return &Relay{pool: pool, nc: nc, js: js, streams: o.Streams, log: o.Log.Named("relay"), metrics: newMetrics(o.Registerer), tracer: o.Tracer}
}

// Run relays until ctx ends, and returns when the round under way is done.
// The database or the broker being away is waited out.
func (r *Relay) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	sub, err := r.nc.Subscribe(events.WakeOutbox, func(*nats.Msg) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", events.WakeOutbox, err)
	}
	defer func() { _ = sub.Unsubscribe() }()

	// A round outlives ctx: what is leased is published.
	round := context.WithoutCancel(ctx)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	poll := poller{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	hinted := true
	for {
		began := time.Now()
		n, err := r.turn(round, hinted)
		wait := poll.next(n, hinted, time.Now())
		hint := wake
		if n > 0 && n < batchEvents {
			// Under load the next round gathers a little, and everything after
			// the relay batches with it.
			if !pass(ctx, gather(n, time.Since(began))) {
				return nil
			}
		}
		if err != nil {
			wait = pause.NextBackOff()
			hint = nil // a hint does not mend what failed
			r.log.Warn("a round failed; trying again", zap.Error(err), zap.Duration("in", wait))
		} else {
			pause.Reset()
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			hinted = n == batchEvents
		case <-hint:
			hinted = true
		}
	}
}

// gather is how long to wait after a round of n events that took so long.
func gather(n int, took time.Duration) time.Duration {
	if n == 1 {
		return pace - took
	}
	return max(pace-took, min(took, maxGather))
}

// pass waits for d, and says false where ctx ends first.
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

// poller decides how soon to look again. Producers that give hints are served
// by them; only for those that don't, and while they are busy, is the outbox
// polled often.
type poller struct{ unhinted time.Time }

func (p *poller) next(n int, hinted bool, now time.Time) time.Duration {
	if n > 0 && !hinted {
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

// turn is a round, or, where nothing says that there are rows, a look that
// costs a fraction of one.
func (r *Relay) turn(ctx context.Context, hinted bool) (int, error) {
	if !hinted {
		var some bool
		if err := r.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE leased_until <= now())`).Scan(&some); err != nil {
			r.metrics.failures.WithLabelValues(partyDatabase).Inc()
			return 0, fmt.Errorf("look at the outbox: %w", err)
		}
		if !some {
			return 0, nil
		}
	}
	return r.round(ctx)
}

// Leased rows keep their place by seq; those never published come first since
// their lease ended at -infinity.
const leaseOutbox = `
WITH due AS MATERIALIZED (
	SELECT tenant_id, seq FROM outbox WHERE leased_until <= now()
	ORDER BY leased_until, seq LIMIT $1 FOR UPDATE SKIP LOCKED
), leased AS (
	UPDATE outbox AS o
	SET publishes = least(o.publishes + 1, 1000),
	    leased_until = now() + make_interval(secs => least($2 * 2 ^ least(o.publishes, 10), $3))
	FROM due WHERE o.tenant_id = due.tenant_id AND o.seq = due.seq
	RETURNING o.tenant_id, o.seq, o.event_id, o.created_at, o.publishes
)
SELECT l.tenant_id, l.seq, l.event_id, l.created_at, l.publishes, e.type,
       coalesce(e.agent_id, ''), coalesce(e.conversation_id, ''), coalesce(e.message_id, ''), e.labels, e.envelope, coalesce(e.traceparent, ''),
       extract(epoch FROM now() - l.created_at)::float8
FROM leased AS l CROSS JOIN LATERAL (
	SELECT type, agent_id, conversation_id, message_id, labels, envelope, traceparent FROM events
	WHERE id = l.event_id AND created_at = l.created_at
) AS e ORDER BY l.seq`

// round leases a batch and publishes it; it gives the number of events.
func (r *Relay) round(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("a round of the relay took over 30 s"))
	defer cancel()
	var tenants []events.TenantID
	var seqs []int64
	var msgs []*nats.Msg
	b := &pgx.Batch{}
	// A lease that a crash of Postgres takes back costs a second message, which
	// does nothing; so its commit does not wait for the disk.
	b.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
	b.Queue(leaseOutbox, batchEvents, FirstLease.Seconds(), MaxLease.Seconds()).Query(func(rows pgx.Rows) (err error) {
		msgs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*nats.Msg, error) {
			m, tenant, seq, err := r.message(row)
			tenants, seqs = append(tenants, tenant), append(seqs, seq)
			return m, err
		})
		return err
	})
	if err := r.pool.SendBatch(ctx, b).Close(); err != nil {
		r.metrics.failures.WithLabelValues(partyDatabase).Inc()
		return 0, fmt.Errorf("lease outbox rows: %w", err)
	}
	if len(msgs) == 0 {
		return 0, nil
	}
	crash.At(crash.OutboxLeased)
	r.metrics.batch.Observe(float64(len(msgs)))
	if err := r.traced(ctx, msgs); err != nil {
		r.metrics.failures.WithLabelValues(partyBroker).Inc()
		// Hand the rows back, so that they need not wait for their lease.
		_, undo := r.pool.Exec(ctx, `UPDATE outbox AS o SET leased_until = '-infinity'
			FROM unnest($1::uuid[], $2::bigint[]) AS u (tenant_id, seq) WHERE o.tenant_id = u.tenant_id AND o.seq = u.seq`, tenants, seqs)
		// Without a leader nobody answers; the next round asks again.
		ask, stop := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
		defer stop()
		ensure := stream.Ensure(ask, r.js, r.streams)
		return 0, errors.Join(fmt.Errorf("publish: %w", err), undo, ensure)
	}
	crash.At(crash.OutboxPublished)
	return len(msgs), nil
}

func (r *Relay) message(row pgx.CollectableRow) (*nats.Msg, events.TenantID, int64, error) {
	var (
		tenant                       events.TenantID
		seq                          int64
		id                           events.ID
		created                      time.Time
		publishes                    int
		typ                          events.Type
		agent, conversation, message string
		labels                       []string
		envelope                     []byte
		traceparent                  string
		age                          float64
	)
	if err := row.Scan(&tenant, &seq, &id, &created, &publishes, &typ, &agent, &conversation, &message, &labels, &envelope, &traceparent, &age); err != nil {
		return nil, tenant, seq, err
	}
	msgID := id.String()
	turn := turnFirst
	if publishes > 1 {
		// A repair carries an id of its own, or the broker's window of
		// duplicates would swallow it.
		msgID += ":" + strconv.Itoa(publishes)
		turn = turnAgain
	} else {
		r.metrics.lag.Observe(max(age, 0))
	}
	r.metrics.published.WithLabelValues(turn).Inc()
	h := nats.Header{
		jetstream.MsgIDHeader:  {msgID},
		stream.HeaderEvent:     {id.String()},
		stream.HeaderSeq:       {strconv.FormatInt(seq, 10)},
		stream.HeaderCreatedAt: {strconv.FormatInt(created.UnixMicro(), 10)},
	}
	for name, v := range map[string]string{stream.HeaderAgent: agent, stream.HeaderConversation: conversation, stream.HeaderMessage: message} {
		if v != "" {
			h[name] = []string{url.PathEscape(v)}
		}
	}
	if traceparent != "" {
		h[telemetry.Header] = []string{traceparent}
	}
	for _, l := range labels {
		h[stream.HeaderLabel] = append(h[stream.HeaderLabel], url.PathEscape(l))
	}
	return &nats.Msg{Subject: events.EventSubject(tenant, typ), Header: h, Data: slices.Clone(envelope)}, tenant, seq, nil
}

// publish sends the messages in order and returns when the broker has them
// all. Atomic batches coalesce the broker's commit where it syncs or replicates;
// where one is refused (a duplicate in it refuses the whole), the messages go
// one by one.
func (r *Relay) publish(ctx context.Context, msgs []*nats.Msg) error {
	if len(msgs) > smallBatch && !r.singly {
		batch, stop := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
		_, err := jetstreamext.PublishMsgBatch(batch, r.js, msgs)
		stop()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		var refused *jetstream.APIError
		r.singly = errors.As(err, &refused) && refused.ErrorCode == atomicDisabled
		r.log.Debug("the broker refused an atomic batch; publishing one by one", zap.Error(err), zap.Int("events", len(msgs)), zap.Bool("from_now_on", r.singly))
	}
	futures := make([]jetstream.PubAckFuture, 0, len(msgs))
	for _, m := range msgs {
		// The batch has left its marks on the header.
		for _, name := range []string{"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
			m.Header.Del(name)
		}
		f, err := r.js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	return stream.Acknowledged(ctx, futures)
}
