package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	batchEvents = 500
	// insertRows is the most rows of one INSERT.
	insertRows = 2000
	// batches is how many may be under way. The next begins when the one before
	// has ended, for two would be half as large each, and what a transaction
	// costs is not its rows; or after patience, so that an event for thousands
	// of webhooks holds up nobody else's.
	batches  = 2
	patience = 5 * time.Millisecond
)

// Options say how the fan-out runs.
type Options struct {
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: no metrics
	// Streams are made again where the broker has lost them.
	Streams stream.Options
	// Lanes are those of the dispatcher in the same process; nil: there is
	// none, and all deliveries travel through the broker.
	Lanes Lanes
	// Tracer makes the spans of traced events; nil: none are made.
	Tracer trace.Tracer
}

// Lanes are a dispatcher's, where it runs in the same process.
type Lanes interface {
	// Full says that a webhook's lane is here and has no room now.
	Full(webhook events.WebhookID) bool
	// Due tells of a new row that is due in the table, for the lane to lease
	// when it has room.
	Due(webhook events.WebhookID)
	// Feed offers new deliveries, leased and with their envelopes, and gives
	// the indexes of those that were not taken: other replicas' and those
	// without room. These travel through the broker.
	Feed(new []subscribers.Leased) (left []int)
	// Rank is the dispatcher's place among all, from 0, and a channel that
	// closes when it changes. The first fans everything out while it keeps up.
	Rank() (rank int, changed <-chan struct{})
}

// Fanout consumes MAIL_EVENTS. Make one with [New].
type Fanout struct {
	pool     *pgxpool.Pool
	js       jetstream.JetStream
	registry *subscribers.Registry
	streams  stream.Options
	lanes    Lanes
	log      *zap.Logger
	metrics  *metrics
	started  atomic.Bool
	tracer   trace.Tracer
}

// New makes a fan-out; Run starts it.
func New(pool *pgxpool.Pool, js jetstream.JetStream, registry *subscribers.Registry, o Options) *Fanout {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Fanout{pool: pool, js: js, registry: registry, streams: o.Streams, lanes: o.Lanes, log: o.Log.Named("fanout"), metrics: newMetrics(o.Registerer), tracer: o.Tracer}
}

// Ready says why no event has been asked for yet, or nil: from then on it
// stays nil.
func (f *Fanout) Ready() error {
	if !f.started.Load() {
		return errors.New("waiting for the events' consumer")
	}
	return nil
}

// Run fans out until ctx ends, and returns when the batches under way are
// done. Messages that were fetched and not begun go back to the broker.
func (f *Fanout) Run(ctx context.Context) error {
	msgs := make(chan jetstream.Msg, 2*batchEvents)
	g, run := errgroup.WithContext(ctx)
	g.Go(func() error { return f.consume(run, msgs) })
	g.Go(func() error { f.work(run, msgs); return nil })
	err := g.Wait()
	for {
		select {
		case m := <-msgs:
			_ = m.Nak()
		default:
			return err
		}
	}
}

func (f *Fanout) consume(ctx context.Context, to chan<- jetstream.Msg) error {
	source := stream.Source{JS: f.js, Streams: f.streams, Stream: stream.Events, Consumer: stream.FanoutConsumer(), Ahead: batchEvents, Started: func() { f.started.Store(true) }, Log: f.log}
	if f.lanes != nil {
		source.Rank = f.lanes.Rank
	}
	return source.Run(ctx, func(m jetstream.Msg) {
		select {
		case to <- m:
		case <-ctx.Done():
			_ = m.Nak()
		}
	})
}

func (f *Fanout) work(ctx context.Context, from <-chan jetstream.Msg) {
	ended := make(chan bool, batches)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	late := time.NewTimer(0)
	defer late.Stop()
	running := 0
	end := func(ok bool) {
		running--
		if ok {
			pause.Reset()
			return
		}
		select { // take nothing more from the broker meanwhile
		case <-ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
	defer func() {
		for ; running > 0; running-- {
			<-ended
		}
	}()
	for {
		batch := f.gather(ctx, from)
		if len(batch) == 0 {
			if ctx.Err() != nil {
				return
			}
			continue
		}
		running++
		go func() { ended <- f.process(context.WithoutCancel(ctx), batch) }()
		late.Reset(patience)
		for waiting := true; running == batches || running > 0 && waiting; {
			select {
			case ok := <-ended:
				end(ok)
			case <-late.C:
				waiting = false
			}
		}
	}
}

// gather waits for a message and takes what else is there; nothing where ctx
// ends, or what came was not Fanmail's.
func (f *Fanout) gather(ctx context.Context, from <-chan jetstream.Msg) (batch []event) {
	select {
	case <-ctx.Done():
		return nil
	case m := <-from:
		batch = f.take(batch, m)
	}
	for len(batch) < batchEvents {
		select {
		case m := <-from:
			batch = f.take(batch, m)
		default:
			return batch
		}
	}
	return batch
}

func (f *Fanout) take(batch []event, m jetstream.Msg) []event {
	e, err := read(m)
	if err != nil {
		f.metrics.events.WithLabelValues(resultMalformed).Inc()
		f.log.Error("a message on the event stream is not Fanmail's; dropping it", zap.String("subject", m.Subject()), zap.Error(err))
		_ = m.TermWithReason("malformed")
		return batch
	}
	return append(batch, e)
}

// process fans a batch out. Where the database fails it says false, and the
// batch goes back to the broker for later.
func (f *Fanout) process(ctx context.Context, batch []event) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, 50*time.Second, errors.New("a batch of the fan-out took over 50 s"))
	defer cancel()
	f.metrics.batch.Observe(float64(len(batch)))
	ctx, spans := f.trace(ctx, batch)
	b, err := f.commit(ctx, batch)
	if err != nil {
		spans.end(err)
		f.metrics.failures.WithLabelValues(partyDatabase).Inc()
		f.log.Warn("a batch was not fanned out; its events come again", zap.Error(err), zap.Int("events", len(batch)))
		for i := range batch {
			_ = batch[i].msg.NakWithDelay(time.Second)
		}
		return false
	}
	faults.At(faults.FanoutCommitted)
	err = f.publish(ctx, b)
	spans.end(err)
	if err != nil {
		f.metrics.failures.WithLabelValues(partyBroker).Inc()
		f.log.Warn("delivery messages were not published; the sweep takes their rows", zap.Error(err), zap.Int("deliveries", len(b.rows)))
	}
	faults.At(faults.FanoutPublished)
	for i := range batch {
		_ = batch[i].msg.Ack()
	}
	f.metrics.events.WithLabelValues(resultFannedOut).Add(float64(b.fresh))
	f.metrics.events.WithLabelValues(resultAlready).Add(float64(len(batch) - b.fresh))
	f.metrics.deliveries.Add(float64(len(b.rows)))
	return true
}

// born is what a batch has brought forth.
type born struct {
	lease int64 // Unix microseconds
	fresh int   // events whose outbox rows were taken
	rows  []subscribers.NewDelivery
	of    []*event // the event of each row
}

// The rows are locked in order, so that two batches that hold the same events
// can't deadlock; the second finds them gone. They are found by [outbox.RowOfKey]
// and deleted where they lie, as one array whose length the planner does not know: so there is no other plan,
// whatever the statistics say. Gathered on an empty outbox they would have it
// read whole for each event. Beside the sequences it gives how many rows were
// locked.
const takeOutbox = `
WITH due AS MATERIALIZED (
	SELECT o.at FROM (SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS u (tenant_id, seq) ORDER BY tenant_id, seq) AS u
	CROSS JOIN LATERAL (` + outbox.RowOfKey + ` FOR UPDATE) AS o
), taken AS (
	DELETE FROM fanmail.outbox AS o USING (SELECT unnest(ARRAY(SELECT at FROM due)) LIMIT cardinality($2)) AS due (at)
	WHERE o.ctid = due.at RETURNING o.seq
)
SELECT seq, 0 FROM taken UNION ALL SELECT 0, count(DISTINCT at) FROM due`

// errMoved says that the relay leased a row anew in the moment between the
// statement's beginning and its lock.
var errMoved = errors.New("an outbox row was leased again meanwhile")

// commit runs the batch's transaction in two round trips. Where it fails, the
// pool throws the connection away, and the transaction with it.
func (f *Fanout) commit(ctx context.Context, batch []event) (*born, error) {
	b := &born{}
	err := f.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		taken, err := f.takeOutbox(ctx, conn, batch, b)
		if err != nil {
			return err
		}
		f.match(batch, taken, b)
		q := &pgx.Batch{}
		for chunk := range slices.Chunk(b.rows, insertRows) {
			subscribers.QueueInsert(q, chunk)
		}
		q.Queue("COMMIT")
		if err := conn.SendBatch(ctx, q).Close(); err != nil {
			return fmt.Errorf("insert deliveries: %w", err)
		}
		return nil
	})
	return b, err
}

// takeOutbox begins the transaction, deletes the batch's outbox rows and brings
// the registry up to the transaction's view.
func (f *Fanout) takeOutbox(ctx context.Context, conn *pgxpool.Conn, batch []event, b *born) (map[int64]bool, error) {
	tenants, seqs := make([]events.TenantID, len(batch)), make([]int64, len(batch))
	for i := range batch {
		tenants[i], seqs[i] = batch[i].tenant, batch[i].seq
	}
	q := &pgx.Batch{}
	q.Queue("BEGIN")
	q.Queue(`SELECT now() + make_interval(secs => $1), set_config('synchronous_commit', 'off', true)`, subscribers.FirstLease.Seconds())
	q.Queue(takeOutbox, tenants, seqs)
	f.registry.Queue(q)
	results := conn.SendBatch(ctx, q)
	defer func() { _ = results.Close() }()
	if _, err := results.Exec(); err != nil {
		return nil, fmt.Errorf("begin a batch: %w", err)
	}
	var lease time.Time
	var setting string
	if err := results.QueryRow().Scan(&lease, &setting); err != nil {
		return nil, fmt.Errorf("begin a batch: %w", err)
	}
	b.lease = lease.UnixMicro()
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("take outbox rows: %w", err)
	}
	taken := make(map[int64]bool, len(batch))
	var seq, rowLocks, locked int64
	if _, err := pgx.ForEachRow(rows, []any{&seq, &rowLocks}, func() error {
		if seq == 0 {
			locked = rowLocks
		} else {
			taken[seq] = true
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("take outbox rows: %w", err)
	}
	if locked != int64(len(taken)) {
		return nil, fmt.Errorf("take outbox rows: %w", errMoved)
	}
	if err := f.registry.Read(results); err != nil {
		return nil, err
	}
	return taken, results.Close()
}

func (f *Fanout) match(batch []event, taken map[int64]bool, b *born) {
	var matched []*subscribers.Entry
	for i := range batch {
		e := &batch[i]
		if !taken[e.seq] {
			continue
		}
		delete(taken, e.seq) // the same event twice in one batch is one
		b.fresh++
		matched = f.registry.Match(matched[:0], e.tenant, e.typ, e.agent, e.conversation, e.labels)
		created := time.UnixMicro(e.createdAt)
		for _, w := range matched {
			b.rows = append(b.rows, subscribers.NewDelivery{
				Ref:       subscribers.Ref{ID: events.DeriveDeliveryID(e.id, w.ID, events.ReplayID{}, created), CreatedAt: e.createdAt},
				WebhookID: w.ID, TenantID: e.tenant, EventID: e.id, EventType: e.typ, MessageID: e.message, Seq: e.seq, Strict: w.Strict,
				// What would be parked as soon as it comes is spared the lease,
				// the way and the second write.
				Due: !w.Strict && f.lanes != nil && f.lanes.Full(w.ID),
			})
			b.of = append(b.of, e)
		}
	}
}

// publish hands the rows on: those of partitions that this process owns
// straight to its lanes, the others to their owners in a message for each
// partition and MessageBytes. For rows in strict order it sends hints.
func (f *Fanout) publish(ctx context.Context, b *born) error {
	var byPartition [events.Partitions][]int
	var offer []subscribers.Leased
	var offered []int
	for i := range b.rows {
		r, e := &b.rows[i], b.of[i]
		switch {
		case r.Strict:
			// Its lane looks into the table; a lost hint costs seconds.
			subscribers.WakeLane(f.js.Conn(), r.WebhookID)
		case r.Due:
			f.lanes.Due(r.WebhookID)
		case f.lanes != nil:
			offered = append(offered, i)
			offer = append(offer, subscribers.Leased{
				Ref: r.Ref, WebhookID: r.WebhookID, EventID: r.EventID, EventType: r.EventType, Seq: r.Seq,
				MaxAttempts: subscribers.MaxAttempts, Lease: b.lease, Envelope: e.envelope, Traceparent: e.traceparent,
			})
		default:
			p := events.Partition(r.WebhookID)
			byPartition[p] = append(byPartition[p], i)
		}
	}
	if len(offer) > 0 {
		for _, i := range f.lanes.Feed(offer) {
			p := events.Partition(offer[i].WebhookID)
			byPartition[p] = append(byPartition[p], offered[i])
		}
	}
	var futures []jetstream.PubAckFuture
	for p, rows := range byPartition {
		for len(rows) > 0 {
			m := &nats.Msg{Subject: stream.PartitionSubject(p)}
			m.Data, rows = b.encode(rows, m)
			future, err := f.js.PublishMsgAsync(m)
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

// encode makes the data of a message of as many of the rows as fit, and gives
// the rest. Traceparents go into the message's header.
func (b *born) encode(rows []int, msg *nats.Msg) (data []byte, rest []int) {
	m := stream.DeliveryMessage{Lease: b.lease}
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
			m.Events = append(m.Events, stream.MessageEvent{ID: e.id, CreatedAt: e.createdAt, Seq: e.seq, Type: e.typ, Envelope: envelope})
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
