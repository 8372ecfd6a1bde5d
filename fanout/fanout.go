package fanout

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// batches is how many batches may run at once. A batch starts when the batch
	// before it has ended: two at once would each be half as large, and a
	// transaction costs more than its rows. After patience it starts anyway, so
	// that an event for thousands of webhooks delays no other event.
	batches  = 2
	patience = 5 * time.Millisecond
)

// Options configure a fan-out. The zero value is usable.
type Options struct {
	// Log may be nil.
	Log *zap.Logger
	// Registerer receives the metrics; nil: none.
	Registerer prometheus.Registerer
	// Streams are created again if the broker has lost them.
	Streams stream.Options
	// Lanes are those of the dispatcher in the same process; nil: there is none,
	// and all deliveries travel through the broker.
	Lanes Lanes
	// PerWebhook publishes the deliveries of each webhook in messages of their own, so
	// that they can be seen and filtered in the broker.
	PerWebhook bool
	// Tracer makes the spans of traced events; nil: none are made.
	Tracer trace.Tracer
	// Count is called after the commit for each event that was not counted for its
	// tenant when it was inserted, with the bytes of its data; nil: nothing counts.
	Count func(tenant events.TenantID, bytes int64)
	// FannedOut is called after the commit for each event, with the address of its agent, ""
	// for none, and the bytes of its envelope; nil: nobody is told.
	FannedOut func(tenant events.TenantID, agent string, bytes int)
}

// Fanout turns events into deliveries. Create one with [New].
type Fanout struct {
	committer
	publisher
	streams stream.Options
	lanes   Lanes
	log     *zap.Logger
	metrics *metrics
	started atomic.Bool
	past    past
	tracer  trace.Tracer
	told    func(tenant events.TenantID, agent string, bytes int) // see Options.FannedOut
}

// New returns a fan-out; call Run to start it, or Round to fan out once. The
// registry must have been loaded.
func New(pool *pgxpool.Pool, js jetstream.JetStream, registry *subscribers.Registry, o Options) *Fanout {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	f := &Fanout{
		committer: committer{pool: pool, registry: registry, counted: o.Count},
		publisher: publisher{table: pool, js: js, lanes: o.Lanes, perWebhook: o.PerWebhook},
		past:      past{pool: pool, lanes: o.Lanes, log: o.Log.Named("fanout")},
		streams:   o.Streams, lanes: o.Lanes, log: o.Log.Named("fanout"), tracer: o.Tracer, told: o.FannedOut,
	}
	f.metrics = newMetrics(o.Registerer, f.past.active.Load, f.broker.Failing)
	f.past.taken, f.past.fanOut = f.metrics.past, f.process
	return f
}

// Publishing returns how publishing to DELIVERIES stands.
func (f *Fanout) Publishing() stream.Publishing {
	p := f.broker.Publishing(stream.Deliveries)
	p.PastBroker = f.past.active.Load()
	return p
}

// Ready returns nil once Run has asked the broker for events, and while it takes
// them from the outbox; else an error.
func (f *Fanout) Ready() error {
	if !f.started.Load() && !f.past.active.Load() {
		return errors.New("waiting for the consumer of events")
	}
	return nil
}

// Run fans out the broker's events until ctx ends. It returns when the running
// batches are done. It refuses (nak) the messages that no batch has begun, so that
// the broker delivers them again at once. While the broker delivers no events, Run
// takes them from the outbox.
func (f *Fanout) Run(ctx context.Context) error {
	msgs := make(chan jetstream.Msg, 2*batchEvents)
	g, run := errgroup.WithContext(ctx)
	g.Go(func() error { return f.consume(run, msgs) })
	g.Go(func() error { f.work(run, msgs); return nil })
	g.Go(func() error { f.past.run(run); return nil })
	g.Go(func() error { f.runProbe(run); return nil })
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
		select { // fetch nothing from the broker meanwhile
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

// gather waits for a message and adds all that have arrived. It returns nothing if
// ctx ends, or if the only message was not Fanmail's.
func (f *Fanout) gather(ctx context.Context, from <-chan jetstream.Msg) (batch []event) {
	select {
	case <-ctx.Done():
		return nil
	case m := <-from:
		f.past.hear()
		batch = f.add(batch, m)
	}
	for len(batch) < batchEvents {
		select {
		case m := <-from:
			batch = f.add(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// add appends the event of a message. A message that can't be read is dropped.
func (f *Fanout) add(batch []event, m jetstream.Msg) []event {
	e, err := fromMessage(m)
	if err != nil {
		result := resultMalformed
		if errors.Is(err, stream.ErrAnswer) {
			result = resultForged
		}
		f.metrics.events.WithLabelValues(result).Inc()
		f.log.Error("an unreadable message on the event stream was dropped", zap.String("subject", m.Subject()), zap.Error(err))
		_ = m.TermWithReason("malformed")
		return batch
	}
	return append(batch, e)
}

// process fans out a batch and acknowledges its messages. It returns false if the
// database failed: the broker then delivers the batch again later.
func (f *Fanout) process(ctx context.Context, batch []event) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, 50*time.Second, errBatchTime)
	defer cancel()
	f.metrics.batch.Observe(float64(len(batch)))
	ctx, spans := begin(ctx, f.tracer, batch)
	b, err := f.commit(ctx, batch, f.due())
	if err != nil {
		spans.end(err)
		f.metrics.failures.WithLabelValues(partyDatabase).Inc()
		f.log.Warn("a batch was not fanned out; its events come again", zap.Error(err), zap.Int("events", len(batch)))
		for i := range batch {
			batch[i].nak()
		}
		return false
	}
	faults.At(faults.FanoutCommitted)
	err = f.publish(ctx, b)
	spans.end(err)
	if err != nil {
		f.metrics.failures.WithLabelValues(partyBroker).Inc()
		f.log.Warn("delivery messages were not published; their rows are fetched from the table", zap.Error(err), zap.Int("deliveries", len(b.rows)))
	}
	faults.At(faults.FanoutPublished)
	tell(f.js, batch, len(batch)-b.fresh-len(b.forged))
	for i := range batch {
		batch[i].ack()
	}
	f.count(len(batch), b)
	return true
}

// due returns which webhooks' new rows are due instead of leased: a lease would
// only cost a second UPDATE if the lane is full, or if no message can reach it.
func (f *Fanout) due() func(events.WebhookID) bool {
	away := f.away()
	return func(w events.WebhookID) bool {
		if f.lanes == nil {
			return away
		}
		return f.lanes.Full(w) || away && !f.lanes.Owns(w)
	}
}

// errBatchTime is the cause when a batch is cancelled.
var errBatchTime = errors.New("a batch of the fan-out took over 50 s")

// count adds a committed batch of n events to the metrics.
func (f *Fanout) count(n int, b *committed) {
	f.metrics.events.WithLabelValues(resultFannedOut).Add(float64(b.fresh))
	f.metrics.events.WithLabelValues(resultForged).Add(float64(len(b.forged)))
	f.metrics.events.WithLabelValues(resultAlready).Add(float64(n - b.fresh - len(b.forged)))
	for _, id := range b.forged {
		f.log.Error("a message on the event stream was dropped: its sequence is another event's, so no relay published it", zap.Stringer("event", id))
	}
	f.metrics.deliveries.Add(float64(len(b.rows)))
	if f.told == nil {
		return
	}
	for _, e := range b.taken {
		f.told(e.TenantID, e.AgentID, len(e.envelope))
	}
}
