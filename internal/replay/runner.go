package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
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
	// lease is how long a claim holds without a sign of life; every step
	// renews it.
	lease = 15 * time.Second
	// poll is how often claims are looked for without a hint.
	poll = time.Second
	// stepTimeout bounds one step.
	stepTimeout = 30 * time.Second
	// turn is how long a replay is worked on while others wait.
	turn = 20 * time.Second
	// idle is how long a replay that does not get on keeps its place.
	idle = 3 * time.Second
	// shortestRest and restMax bound how long it is then left alone: a quarter of
	// the time that it has not got on for.
	shortestRest = 2 * time.Second
	restMax      = time.Minute
)

// Options say how replays run.
type Options struct {
	// Concurrent is how many replays this process works on at once; zero: 4.
	Concurrent int
	// Rate is the most deliveries a second that this process enqueues, over
	// all of its replays; zero: 500.
	Rate int
	// Beat is the least time from one step of a replay to the next; zero:
	// 100 ms.
	Beat time.Duration
	// Skew is how far the broker's clock and the database's may be apart;
	// zero: a minute. Clocks further apart cost a second reading.
	Skew       time.Duration
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Runner works on replays. Make one with [NewRunner]. Any number of processes
// may run one; a replay is in the hands of one at a time.
type Runner struct {
	pool     *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	registry *subscribers.Registry
	o        Options
	log      *zap.Logger
	metrics  *metrics
	limiter  *rate.Limiter
}

// NewRunner makes a runner; Run starts it. The registry must be kept fresh by
// its own Run.
func NewRunner(pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream, registry *subscribers.Registry, o Options) *Runner {
	if o.Concurrent <= 0 {
		o.Concurrent = 4
	}
	if o.Rate <= 0 {
		o.Rate = 500
	}
	if o.Beat <= 0 {
		o.Beat = 100 * time.Millisecond
	}
	if o.Skew <= 0 {
		o.Skew = time.Minute
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	// What may come at once is what comes in two beats.
	burst := max(1, int(math.Ceil(float64(o.Rate)*2*o.Beat.Seconds())))
	return &Runner{
		pool: pool, nc: nc, js: js, registry: registry, o: o, log: o.Log.Named("replay"), metrics: newMetrics(o.Registerer),
		limiter: rate.NewLimiter(rate.Limit(o.Rate), burst),
	}
}

// allowed is how many deliveries the rate limit allows now, and take uses them up.
// Replays that take at the same time may exceed it; they then wait longer.
func (r *Runner) allowed() int { return max(0, int(r.limiter.Tokens())) }

func (r *Runner) take(n int) { r.limiter.ReserveN(time.Now(), n) }

// claim is the right to work on a replay, for as long as its token stands in
// the row.
type claim struct {
	id    events.ReplayID
	token pgtype.UUID
}

// Run works on replays until ctx ends, and returns when the steps under way
// are done. What was begun is gone on with by whoever claims it next.
func (r *Runner) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	nudge := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	sub, err := r.nc.Subscribe(events.WakeReplays, func(*nats.Msg) { nudge() })
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", events.WakeReplays, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	var turns sync.WaitGroup
	defer turns.Wait()
	places := make(chan struct{}, r.o.Concurrent)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	failing := false
	for {
		claims, err := r.claim(ctx, cap(places)-len(places))
		if err != nil && ctx.Err() == nil && !failing {
			r.log.Warn("replays can't be looked for", zap.Error(err))
		}
		failing = err != nil
		for _, c := range claims {
			places <- struct{}{}
			turns.Go(func() {
				r.metrics.running.Inc()
				r.turn(ctx, c)
				r.metrics.running.Dec()
				<-places
				nudge()
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

const claimReplays = `
UPDATE fanmail.replays AS r SET runner = gen_random_uuid(), leased_until = now() + make_interval(secs => $1),
       state = CASE WHEN state = 'queued' THEN 'running' ELSE state END
FROM (SELECT id FROM fanmail.replays WHERE finished_at IS NULL AND due_at <= now() AND leased_until <= now()
      ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS due
WHERE r.id = due.id
RETURNING r.id, r.runner`

func (r *Runner) claim(ctx context.Context, room int) ([]claim, error) {
	if room <= 0 {
		return nil, nil
	}
	rows, err := r.pool.Query(ctx, claimReplays, lease.Seconds(), room)
	if err != nil {
		return nil, fmt.Errorf("claim replays: %w", err)
	}
	claims, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (claim, error) {
		var c claim
		err := row.Scan(&c.id, &c.token)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim replays: %w", err)
	}
	return claims, nil
}

// errLost means that another process has claimed the replay, or that it is
// finished.
var errLost = errors.New("the replay is no longer this process's")

// progress is one process's turn at a replay.
type progress struct {
	claim    claim
	log      *zap.Logger
	work     *work // nil: to be loaded
	began    time.Time
	moved    time.Time // the last step that made progress
	failures int       // in a row
}

// turn works on a replay until it is finished, stops making progress, has had its
// time while others wait, or ctx ends.
func (r *Runner) turn(ctx context.Context, c claim) {
	// A step outlives ctx: it is short, and half a step is of no use.
	steady := context.WithoutCancel(ctx)
	p := &progress{claim: c, log: r.log.With(zap.Stringer("replay", c.id)), began: time.Now(), moved: time.Now()}
	defer p.forget(steady)
	tick := time.NewTicker(r.o.Beat)
	defer tick.Stop()
	for {
		if r.step(steady, p) {
			return
		}
		switch {
		case time.Since(p.moved) > idle:
			r.release(steady, c, false, p.log)
			return
		case time.Since(p.began) > turn && r.othersWait(steady):
			r.release(steady, c, true, p.log)
			return
		}
		select {
		case <-ctx.Done():
			r.release(steady, c, true, p.log)
			return
		case <-tick.C:
		}
	}
}

// step takes one step of the replay and reports whether the turn is over: the
// replay is finished, or another process has it.
func (r *Runner) step(ctx context.Context, p *progress) (over bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("a step of a replay took over %s", stepTimeout))
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
		p.forget(context.WithoutCancel(ctx)) // its counts may be wrong now
		return false
	}
	p.failures = 0
	return p.work.finished
}

// forget drops what is in memory; the next step reads it from the tables.
func (p *progress) forget(ctx context.Context) {
	if p.work != nil {
		p.work.close(ctx)
		p.work = nil
	}
}

func (r *Runner) othersWait(ctx context.Context) bool {
	var some bool
	err := r.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.replays WHERE finished_at IS NULL AND due_at <= now() AND leased_until <= now())`).Scan(&some)
	return err == nil && some
}

// release ends the lease of a replay. The replay is due at once if it makes
// progress, else after a rest.
func (r *Runner) release(ctx context.Context, c claim, getsOn bool, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := r.pool.Exec(ctx, `UPDATE fanmail.replays SET leased_until = '-infinity', due_at = now() + CASE WHEN $3 THEN interval '0'
			ELSE least(greatest((now() - moved_at) / 4, make_interval(secs => $4)), make_interval(secs => $5)) END
		WHERE id = $1 AND runner = $2 AND finished_at IS NULL`, c.id, c.token, getsOn, shortestRest.Seconds(), restMax.Seconds())
	if err != nil {
		log.Warn("a replay was not released; its lease runs out", zap.Error(err))
	}
}
