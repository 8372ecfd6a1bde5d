package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// pollInterval is how often a runner looks for due replays if nothing wakes it.
	pollInterval = time.Second
	// stepTimeout limits one step.
	stepTimeout = 30 * time.Second
	// maxTurn is how long a process works on a replay while others wait.
	maxTurn = 20 * time.Second
	// idleTimeout is how long a process works on a replay that makes no progress.
	idleTimeout = 3 * time.Second
)

// Options configure a runner. The zero value has the defaults.
type Options struct {
	// Concurrent is how many replays this process works on at once; zero: 4.
	Concurrent int
	// Rate is the most deliveries that this process enqueues per second, all replays
	// together; zero: 500.
	Rate int
	// StepInterval is the time between the steps of a replay; zero: 100 ms.
	StepInterval time.Duration
	// Skew is the largest expected difference between the clocks of broker and database;
	// zero: one minute. If they differ by more, events may have to be read twice.
	Skew       time.Duration
	Log        *zap.Logger           // nil: no log
	Registerer prometheus.Registerer // nil: no metrics
}

// Runner works on replays. Create one with [NewRunner]. Any number of processes may run
// one; one process at a time works on a replay.
type Runner struct {
	shared
	o   Options
	log *zap.Logger
}

// NewRunner returns a runner, which Run starts. The caller runs the registry. If js is nil,
// events are read from the database alone. If nc is nil, Run fails.
func NewRunner(pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, registry *subscribers.Registry, o Options) *Runner {
	if o.Concurrent <= 0 {
		o.Concurrent = 4
	}
	if o.Rate <= 0 {
		o.Rate = 500
	}
	if o.StepInterval <= 0 {
		o.StepInterval = 100 * time.Millisecond
	}
	if o.Skew <= 0 {
		o.Skew = time.Minute
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	// A burst is what the rate allows in the time of two steps.
	burst := max(1, int(math.Ceil(float64(o.Rate)*2*o.StepInterval.Seconds())))
	return &Runner{
		shared: shared{
			pool: pool, nc: nc, js: js, registry: registry, limiter: rate.NewLimiter(rate.Limit(o.Rate), burst),
			skew: o.Skew, metrics: newMetrics(o.Registerer),
		},
		o: o, log: o.Log.Named("replay"),
	}
}

// Run works on replays until ctx ends. It returns after the current steps. The process
// that claims an unfinished replay next continues it.
func (r *Runner) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	notify := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	sub, err := r.nc.Subscribe(events.WakeReplays, func(*nats.Msg) { notify() })
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", events.WakeReplays, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	var turns sync.WaitGroup
	defer turns.Wait()
	slots := make(chan struct{}, r.o.Concurrent)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	failing := false
	for {
		look, cancel := context.WithTimeout(ctx, stepTimeout)
		err := wakeEnded(look, r.pool)
		var claims []claim
		if err == nil {
			claims, err = claimDue(look, r.pool, cap(slots)-len(slots))
		}
		cancel()
		if err != nil && ctx.Err() == nil && !failing {
			r.log.Warn("looking for replays failed; trying again", zap.Error(err))
		}
		failing = err != nil
		for _, c := range claims {
			slots <- struct{}{}
			turns.Go(func() {
				r.metrics.running.Inc()
				r.turn(ctx, c)
				r.metrics.running.Dec()
				<-slots
				notify()
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-wake:
		}
	}
}

// progress is one process's turn at a replay.
type progress struct {
	claim    claim
	log      *zap.Logger
	work     *work // nil: to be loaded
	began    time.Time
	moved    time.Time // when a step last made progress
	failures int       // consecutive
}

// turn works on a replay until it is finished, it makes no progress for idleTimeout, it
// has had maxTurn while others wait, or ctx ends.
func (r *Runner) turn(ctx context.Context, c claim) {
	// A step does not end with ctx: it is short, and aborting it would undo it.
	steady := context.WithoutCancel(ctx)
	p := &progress{claim: c, log: r.log.With(zap.Stringer("replay", c.id)), began: time.Now(), moved: time.Now()}
	defer p.forget()
	tick := time.NewTicker(r.o.StepInterval)
	defer tick.Stop()
	for {
		if r.step(steady, p) {
			return
		}
		switch {
		case time.Since(p.moved) > idleTimeout:
			r.release(steady, p, false)
			return
		case time.Since(p.began) > maxTurn && anyDue(steady, r.pool):
			r.release(steady, p, true)
			return
		}
		select {
		case <-ctx.Done():
			r.release(steady, p, true)
			return
		case <-tick.C:
		}
	}
}

// step takes one step of the replay. It reports whether the turn is over because the
// replay is finished or the claim is lost.
func (r *Runner) step(ctx context.Context, p *progress) (over bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("a step of a replay exceeded its limit of %s", stepTimeout))
	defer cancel()
	did, err := false, error(nil)
	if p.work == nil {
		p.work, err = r.load(ctx, p.claim, p.log)
	}
	if err == nil {
		did, err = p.work.step(ctx)
	}
	if did {
		p.moved = time.Now()
	}
	switch {
	case errors.Is(err, errLost):
		return true
	case err != nil:
		r.metrics.failures.WithLabelValues("database").Inc()
		if p.failures++; p.failures == 1 {
			p.log.Warn("a step of a replay failed; trying again", zap.Error(err))
		}
		p.forget() // its counts may be wrong
		return false
	}
	p.failures = 0
	return p.work.finished
}

// forget drops the state in memory. The next step loads it from the tables.
func (p *progress) forget() {
	p.work = nil
}

// release ends the lease. The replay is due at once if it makes progress, else after a
// pause.
func (r *Runner) release(ctx context.Context, p *progress, progresses bool) {
	if err := p.claim.release(ctx, r.pool, progresses); err != nil {
		p.log.Warn("a replay's lease was not released; it expires by itself", zap.Error(err))
	}
}
