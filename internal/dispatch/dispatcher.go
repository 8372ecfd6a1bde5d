package dispatch

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Dispatcher delivers. Make one with [New].
type Dispatcher struct {
	pool     *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	registry *subscribers.Registry
	o        Options
	log      *zap.Logger
	metrics  *metrics

	clock    *clock
	outcomes *outcomeWriter
	poster   *poster
	owner    *ownership
	// details bounds the log lines about attempts without an answer.
	details rate.Sometimes

	inboxes [events.Partitions]atomic.Pointer[inbox] // of the owned partitions
	// taking says that rows are taken from the table whose messages did not come.
	taking atomic.Bool

	mu    sync.Mutex // serializes all that follows
	sched *scheduler.Scheduler
	// attempts is what attempts run under; cut ends it where a stop takes too
	// long. It is not the context of one call, but of all attempts.
	attempts context.Context //nolint:containedctx // see above
	cut      context.CancelCauseFunc
	timer    *time.Timer
	fetches  []subscribers.FetchRequest // of the fetch that is asked for
	free     chan *delivery             // received by workers without an attempt
	room     chan struct{}              // closed when lanes have room, and made anew
	idle     chan struct{}              // closed when the scheduler is stopped and no attempt is in flight

	watch   sync.Once     // the registry
	fetch   chan struct{} // fetches is not empty
	changed chan struct{} // the scheduler or the outcome writer may be idle; for Round
}

// New returns a dispatcher; Run or Round delivers. The registry must be loaded.
// nc and js may be nil where only Round is called.
func New(pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, registry *subscribers.Registry, o Options) (*Dispatcher, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{
		pool: pool, nc: nc, js: js, registry: registry, o: o, log: o.Log.Named("dispatch"), clock: &clock{},
		details: rate.Sometimes{First: 10, Interval: time.Second},
		sched: scheduler.New(scheduler.Options{
			FastSlots: o.Slots, SlowSlots: o.SlowSlots, Cores: runtime.GOMAXPROCS(0), LeaseLeft: AttemptTimeout + time.Second,
		}),
		timer: time.NewTimer(0), free: make(chan *delivery), room: make(chan struct{}), idle: make(chan struct{}),
		fetch: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
	d.attempts, d.cut = context.WithCancelCause(context.Background())
	d.metrics = newMetrics(o.Registerer, d.stats)
	if o.Registerer != nil && o.Activity != nil {
		o.Registerer.MustRegister(newTenantRates(o.Activity))
	}
	d.outcomes = newOutcomeWriter(pool, d.log, d.metrics, d.clock)
	d.owner = newOwnership(ownershipConfig{
		pool: pool, nc: nc, name: o.Name, log: d.log, moves: d.metrics.moves, clock: d.clock,
	})
	d.poster = newPoster(o, d.owner.leaseValid)
	return d, nil
}

func (d *Dispatcher) stats() scheduler.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Stats(d.clock.now())
}

// publish sends a hint to other processes, if there is a broker.
func (d *Dispatcher) publish(subject string) {
	if d.nc != nil {
		_ = d.nc.Publish(subject, nil)
	}
}
