package dispatch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Options say how a dispatcher runs.
type Options struct {
	// Name is this replica's, for people; zero: the host's name.
	Name string
	// Slots is how many attempts may be on the wire at once to endpoints that
	// answer within a second; zero: 512. SlowSlots is the same for the slower
	// ones; zero: four times Slots.
	Slots, SlowSlots int
	// AllowHTTP sends to plain HTTP URLs.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although they are not
	// public.
	AllowNetworks []netip.Prefix
	// Proxy for all attempts; nil: none. The environment's proxy is not used.
	Proxy *url.URL
	// Drain is how long stopping may take; zero: 20 s.
	Drain time.Duration
	// Streams are made again where the broker has lost them.
	Streams    stream.Options
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: no metrics
	// Tracer makes the spans of traced events; nil: none are made, and
	// receivers get no traceparent.
	Tracer trace.Tracer
}

// Dispatcher delivers. Make one with [New].
type Dispatcher struct {
	pool     *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	registry *subscribers.Registry
	o        Options
	log      *zap.Logger
	metrics  *metrics

	clock  *clock
	sched  *scheduler
	ledger *ledger
	poster *poster
	owner  *ownership

	// wire is what attempts run under; cut ends it where stopping takes too
	// long. It belongs to the dispatcher as a whole, not to a call.
	wire    context.Context //nolint:containedctx // see above
	cut     context.CancelCauseFunc
	pulling chan struct{} // wakes the sweep
}

// New makes a dispatcher; Run starts it. The registry must be loaded.
func New(pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, registry *subscribers.Registry, o Options) (*Dispatcher, error) {
	if o.Slots < 0 || o.SlowSlots < 0 {
		return nil, errors.New("slots must not be negative")
	}
	if o.Slots == 0 {
		o.Slots = 512
	}
	if o.SlowSlots == 0 {
		o.SlowSlots = 4 * o.Slots
	}
	if o.Drain <= 0 {
		o.Drain = 20 * time.Second
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	d := &Dispatcher{
		pool: pool, nc: nc, js: js, registry: registry, o: o, log: o.Log.Named("dispatch"),
		clock:   &clock{},
		pulling: make(chan struct{}, 1),
	}
	d.wire, d.cut = context.WithCancelCause(context.Background())
	d.sched = newScheduler(o.Slots, o.SlowSlots, d.clock)
	d.metrics = newMetrics(o.Registerer, d)
	d.ledger = newLedger(pool, d.log, d.metrics, d.pause, func() { _ = nc.Publish(events.WakeWebhooks, nil) })
	d.owner = newOwnership(d)
	d.poster = newPoster(o, d.owner.may)
	return d, nil
}

// Ready says why nothing can be delivered yet, or nil: from then on it stays
// nil.
func (d *Dispatcher) Ready() error { return d.owner.waiting() }

// Run delivers until ctx ends, then stops within the drain deadline: nothing
// new is fetched or started, what is queued is parked, attempts on the wire end
// or are cut short, outcomes are written, and the partitions are handed back.
func (d *Dispatcher) Run(ctx context.Context) error {
	sub, err := d.nc.Subscribe(events.WakeLanePrefix+"*", func(m *nats.Msg) { d.wakeLane(string(m.Data)) })
	if err != nil {
		return fmt.Errorf("subscribe to %s*: %w", events.WakeLanePrefix, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	asked, err := d.answerLanes()
	if err != nil {
		return fmt.Errorf("subscribe to %s*: %w", events.AskLanePrefix, err)
	}
	defer func() { _ = asked.Unsubscribe() }()
	d.registry.Watch(d.webhookChanged)

	var writers, workers sync.WaitGroup
	write, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	writers.Go(func() { d.ledger.run(write) })
	workers.Go(func() { d.owner.run(ctx) })
	workers.Go(func() { d.sweep(ctx) })
	workers.Go(func() { d.discover(ctx) })
	workers.Go(func() { d.tick(ctx) })
	<-ctx.Done()

	deadline, cancel := context.WithTimeout(write, d.o.Drain-d.o.Drain/4)
	defer cancel()
	stop := context.AfterFunc(deadline, func() { d.cut(attempt.ErrStopped) })
	defer stop()
	workers.Wait() // consumers have drained; nothing is added from here on
	waiting, quiet := d.sched.stop()
	for _, q := range waiting {
		d.park(q)
	}
	<-quiet
	last, cancelLast := context.WithTimeout(write, d.o.Drain/4+time.Second)
	defer cancelLast()
	d.cut(attempt.ErrStopped)
	err = d.ledger.flushed(last)
	d.owner.release(last)
	stopWriting()
	writers.Wait()
	d.poster.Close()
	if err != nil {
		d.log.Warn("stopped with outcomes unwritten; their leases run out and they are sent again")
	}
	return nil
}

func (d *Dispatcher) pause(on bool) {
	d.sched.pause(on)
	if !on {
		d.fill()
	}
}

// wakeLane takes the hint that a webhook has due rows.
func (d *Dispatcher) wakeLane(id string) {
	w, err := events.Parse[events.WebhookKind](id)
	if err != nil {
		return
	}
	if e := d.registry.Get(w); e != nil {
		d.sched.hint(w, e, d.clock.latest())
	}
}

func (d *Dispatcher) webhookChanged(e *subscribers.Entry) {
	for _, q := range d.sched.changed(e) {
		if e.Deleted {
			d.end(q, "webhook_deleted", "the webhook was deleted")
		} else {
			d.park(q)
		}
	}
	d.fill()
}

// fill starts attempts while there are slots and deliveries for them.
func (d *Dispatcher) fill() {
	for d.owner.may() {
		q := d.sched.next()
		if q == nil {
			return
		}
		go d.work(q) // waited for by way of the scheduler's count of attempts
	}
}

// work makes attempts until nothing waits: the slot that one frees is filled
// by the same goroutine.
func (d *Dispatcher) work(q *delivery) {
	for q != nil {
		d.attempt(q)
		if !d.owner.may() {
			return
		}
		q = d.sched.next()
	}
}

// attempt is a delivery's way through one POST: check the lease, POST, record,
// let the lane learn.
func (d *Dispatcher) attempt(q *delivery) {
	if q.Lease-d.clock.latest() < (AttemptTimeout + time.Second).Microseconds() {
		d.sched.unstart(q)
		d.renew(q)
		return
	}
	if q.Envelope == nil {
		d.sched.unstart(q)
		d.end(q, "event_expired", "the event is no longer kept")
		return
	}
	ctx := d.wire
	var span trace.Span
	if q.Traceparent != "" && d.o.Tracer != nil {
		ctx, span = d.trace(q)
	}
	if q.Attempts == 0 && !q.IsReplay {
		observe(ctx, span, d.metrics.lag, max(0, float64(d.clock.latest()-q.CreatedAt.UnixMicro())/1e6))
	}
	r := d.poster.post(ctx, q.entry, q)
	faults.At(faults.DispatchPosted)
	d.metrics.attempts.WithLabelValues(r.Reason).Inc()
	observe(ctx, span, d.metrics.duration, r.Duration.Seconds())
	if span != nil {
		d.traced(ctx, span, q, &r)
	}
	if r.Stopped() {
		d.park(q)
	} else {
		d.record(q, &r)
	}
	for _, p := range d.sched.finish(q, &r) {
		d.park(p)
	}
}

// record hands an attempt's result to the ledger.
func (d *Dispatcher) record(q *delivery, r *attempt.Result) {
	n := q.Attempts + 1
	d.ledger.add(entry{kind: entryOutcome, d: q, outcome: subscribers.Outcome{
		Ref: q.Ref, WebhookID: q.WebhookID, Attempt: n, Delivered: r.Delivered, StatusCode: r.StatusCode,
		Error: r.Error, Reason: r.Reason, Response: r.Response, Duration: r.Duration,
		Final: r.Reason == attempt.ReasonGone, Retry: attempt.RetryDelay(n, q.MaxAttempts, r.RetryAfter),
	}, done: d.written(q)})
}

// end fails a delivery without an attempt.
func (d *Dispatcher) end(q *delivery, reason, text string) {
	d.ledger.add(entry{kind: entryOutcome, d: q, outcome: subscribers.Outcome{
		Ref: q.Ref, WebhookID: q.WebhookID, Attempt: q.Attempts, Error: text, Reason: reason, Unsent: true,
	}, done: d.written(q)})
}

func (d *Dispatcher) written(q *delivery) func(int64, bool) {
	return func(at int64, _ bool) {
		d.sched.forget(q, at)
		q.src.settle()
	}
}

// park gives a delivery back to the table, due at once, for the sweep to lease
// when its lane has room.
func (d *Dispatcher) park(q *delivery) {
	d.metrics.parked.Inc()
	d.ledger.add(entry{kind: entryPark, d: q, done: func(int64, bool) {
		d.sched.forget(q, d.clock.latest())
		q.src.settle()
	}})
}

// renew extends a delivery's lease and queues it again; one whose lease is no
// longer ours is somebody else's to send.
func (d *Dispatcher) renew(q *delivery) {
	d.ledger.add(entry{kind: entryRenew, d: q, done: func(lease int64, ok bool) {
		if !ok {
			d.metrics.expired.Inc()
			d.sched.forget(q, d.clock.latest())
			q.src.settle()
			return
		}
		q.Lease = lease
		if !d.sched.requeue(q) {
			d.park(q)
			return
		}
		d.fill()
	}})
}

// tick rings the scheduler's alarms.
func (d *Dispatcher) tick(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var evicted time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.sched.rung:
			ring(d.pulling)
		}
		now := time.Now()
		timer.Reset(d.sched.tick(now))
		d.fill()
		if now.Sub(evicted) > time.Minute {
			d.sched.evict(now)
			evicted = now
		}
	}
}
