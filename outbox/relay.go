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

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

const (
	// FirstLease is how long a published event may take to be fanned out
	// before it is published again. Each further turn doubles it, to MaxLease,
	// so that dispatchers that are away for long don't fill the stream with
	// copies.
	FirstLease = 30 * time.Second
	// MaxLease is the longest of these leases.
	MaxLease = 5 * time.Minute

	// batchEvents bounds one round; the broker takes at most 1,000 messages in
	// an atomic batch.
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
type poller struct {
	unhinted time.Time
	// suspect says that the last rows came without a hint. It may be on its way;
	// if the next come without one too, there is none.
	suspect bool
}

func (p *poller) next(n int, hinted bool, now time.Time) time.Duration {
	switch {
	case hinted:
		p.suspect = false
	case n > 0 && p.suspect:
		p.unhinted = now
	case n > 0:
		p.suspect = true
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
		if err := r.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.outbox WHERE leased_until <= now())`).Scan(&some); err != nil {
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
// their lease ended at -infinity. They are updated where they lie, and those
// that have moved since the statement began are left to the next round. The
// array, and the second LIMIT on it, have the planner expect one row, whatever
// the statistics say: with few or many it would rather read an index of the
// outbox whole, and in the seconds and minutes after they were gathered on an
// empty outbox, for each row. The events are looked up one by one, which the
// LIMIT leaves the planner no way round, and by all columns of either index: in a
// partition that was analyzed while it was empty it would read a whole index for
// each. Of the events of other days than these the row says only which they are;
// see [pg.Between].
const leaseOutbox = `
WITH due AS MATERIALIZED (
	SELECT ctid AS at FROM fanmail.outbox WHERE leased_until <= now()
	ORDER BY leased_until, seq LIMIT $1 FOR UPDATE SKIP LOCKED
), leased AS (
	UPDATE fanmail.outbox AS o
	SET publishes = least(o.publishes + 1, 1000),
	    leased_until = now() + make_interval(secs => least($2 * 2 ^ least(o.publishes, 10), $3))
	FROM (SELECT unnest(ARRAY(SELECT at FROM due)) LIMIT $1) AS due (at) WHERE o.ctid = due.at
	RETURNING o.tenant_id, o.seq, o.event_id, o.created_at, o.publishes
)
SELECT l.tenant_id, l.seq, l.event_id, l.created_at, l.publishes, extract(epoch FROM now() - l.created_at)::float8, ` + eventColumns + `
FROM leased AS l LEFT JOIN LATERAL (
	SELECT * FROM fanmail.events
	WHERE tenant_id = l.tenant_id AND id = l.event_id AND created_at = l.created_at AND created_at >= '{day}' AND created_at < '{next day}' LIMIT 1
) AS e ON true ORDER BY l.seq`

// RowOfKey is a query, to stand in a LATERAL, for where the outbox row of the key
// u (tenant_id, seq) lies; its column is "at". The range is of one key, for which
// no index but the primary key's will do, whatever the statistics say.
const RowOfKey = `SELECT ctid AS at FROM fanmail.outbox
	WHERE (tenant_id, seq) >= (u.tenant_id, u.seq) AND (tenant_id, seq) <= (u.tenant_id, u.seq) LIMIT 1`

// The rows of the keys, as [leaseOutbox] updates them: an outbox is long when the
// broker is away.
const handBack = `
UPDATE fanmail.outbox AS o SET leased_until = '-infinity' FROM (
	SELECT unnest(ARRAY(SELECT r.at FROM unnest($1::uuid[], $2::bigint[]) AS u (tenant_id, seq) CROSS JOIN LATERAL (` + RowOfKey + `) AS r)) LIMIT cardinality($2)
) AS given (at) WHERE o.ctid = given.at`

const otherDays = `
SELECT w.n, ` + eventColumns + `
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) WITH ORDINALITY AS w (tenant_id, id, created_at, n) CROSS JOIN LATERAL (
	SELECT * FROM fanmail.events
	WHERE tenant_id = w.tenant_id AND id = w.id AND created_at = w.created_at LIMIT 1
) AS e`

// leased is an outbox row under lease, with its event.
type leased struct {
	tenant    events.TenantID
	seq       int64
	id        events.ID
	created   time.Time
	publishes int
	age       float64 // seconds
	event
}

// eventColumns are what an event's fields point to, of e.
const eventColumns = `coalesce(e.type, ''), coalesce(e.agent_id, ''), coalesce(e.conversation_id, ''), coalesce(e.message_id, ''), e.labels, e.envelope, coalesce(e.traceparent, '')`

// event is what the message needs of an event.
type event struct {
	typ                          events.Type // empty where the event was not found
	agent, conversation, message string
	labels                       []string
	envelope                     []byte
	traceparent                  string
}

// fields are where a row's eventColumns go.
func (e *event) fields() []any {
	return []any{&e.typ, &e.agent, &e.conversation, &e.message, &e.labels, &e.envelope, &e.traceparent}
}

// round leases a batch and publishes it; it gives the number of events.
func (r *Relay) round(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("a round of the relay took over 30 s"))
	defer cancel()
	rows, err := r.lease(ctx)
	if err != nil {
		r.metrics.failures.WithLabelValues(partyDatabase).Inc()
		return 0, fmt.Errorf("lease outbox rows: %w", err)
	}
	tenants, seqs := make([]events.TenantID, len(rows)), make([]int64, len(rows))
	msgs := make([]*nats.Msg, len(rows))
	for i := range rows {
		tenants[i], seqs[i], msgs[i] = rows[i].tenant, rows[i].seq, r.message(&rows[i])
	}
	if len(msgs) == 0 {
		return 0, nil
	}
	faults.At(faults.OutboxLeased)
	r.metrics.batch.Observe(float64(len(msgs)))
	if err := r.traced(ctx, msgs); err != nil {
		r.metrics.failures.WithLabelValues(partyBroker).Inc()
		// Hand the rows back, so that they need not wait for their lease.
		_, undo := r.pool.Exec(ctx, handBack, tenants, seqs)
		// Without a leader nobody answers; the next round asks again.
		ask, stop := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
		defer stop()
		ensure := stream.Ensure(ask, r.js, r.streams)
		return 0, errors.Join(fmt.Errorf("publish: %w", err), undo, ensure)
	}
	faults.At(faults.OutboxPublished)
	return len(msgs), nil
}

// lease gives what is due, each with its event. A row whose event is no longer
// kept is leased like the others, and left out.
func (r *Relay) lease(ctx context.Context) (rows []leased, err error) {
	b := &pgx.Batch{}
	// A lease that a crash of Postgres takes back costs a second message, which
	// does nothing; so its commit does not wait for the disk.
	b.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
	today := pg.DayOf(time.Now().UnixMicro())
	b.Queue(pg.Between(leaseOutbox, today-1, today+2), batchEvents, FirstLease.Seconds(), MaxLease.Seconds()).Query(func(found pgx.Rows) error {
		rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (l leased, err error) {
			err = row.Scan(append([]any{&l.tenant, &l.seq, &l.id, &l.created, &l.publishes, &l.age}, l.fields()...)...)
			return l, err
		})
		return err
	})
	if err := r.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	return r.complete(ctx, rows)
}

// complete reads the events that are of other days.
func (r *Relay) complete(ctx context.Context, rows []leased) ([]leased, error) {
	var tenants []events.TenantID
	var ids []events.ID
	var created []time.Time
	var at []int
	for i := range rows {
		if rows[i].typ == "" {
			tenants, ids, created, at = append(tenants, rows[i].tenant), append(ids, rows[i].id), append(created, rows[i].created), append(at, i)
		}
	}
	if len(at) == 0 {
		return rows, nil
	}
	found, err := r.pool.Query(ctx, otherDays, tenants, ids, created)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	for found.Next() {
		var n int
		var e event
		if err := found.Scan(append([]any{&n}, e.fields()...)...); err != nil {
			return nil, err
		}
		rows[at[n-1]].event = e
	}
	return slices.DeleteFunc(rows, func(l leased) bool { return l.typ == "" }), found.Err()
}

func (r *Relay) message(l *leased) *nats.Msg {
	msgID := l.id.String()
	turn := turnFirst
	if l.publishes > 1 {
		// A repair carries an id of its own, or the broker's window of
		// duplicates would swallow it.
		msgID += ":" + strconv.Itoa(l.publishes)
		turn = turnAgain
	} else {
		r.metrics.lag.Observe(max(l.age, 0))
	}
	r.metrics.published.WithLabelValues(turn).Inc()
	h := nats.Header{
		jetstream.MsgIDHeader:  {msgID},
		stream.HeaderEvent:     {l.id.String()},
		stream.HeaderSeq:       {strconv.FormatInt(l.seq, 10)},
		stream.HeaderCreatedAt: {strconv.FormatInt(l.created.UnixMicro(), 10)},
	}
	for name, v := range map[string]string{stream.HeaderAgent: l.agent, stream.HeaderConversation: l.conversation, stream.HeaderMessage: l.message} {
		if v != "" {
			h[name] = []string{url.PathEscape(v)}
		}
	}
	if l.traceparent != "" {
		h[telemetry.Header] = []string{l.traceparent}
	}
	for _, label := range l.labels {
		h[stream.HeaderLabel] = append(h[stream.HeaderLabel], url.PathEscape(label))
	}
	return &nats.Msg{Subject: events.EventSubject(l.tenant, l.typ), Header: h, Data: l.envelope}
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
