package usage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// every is how often a process adds what it has counted to the table, and reads
	// what all processes have.
	every = time.Second
	// stale is the age at which a tenant's row is read before it is used again.
	stale = time.Minute
	// forget is how long a tenant stays in memory after its last use.
	forget = 10 * time.Minute
)

// Counter counts for one process. Create one with [New].
type Counter struct {
	pool *pgxpool.Pool
	log  *zap.Logger
	now  func() time.Time

	mu      sync.Mutex
	today   map[events.TenantID]*day
	pending map[*day]struct{} // days with something to add to the table
	planned *time.Timer       // of the next exchange; nil: none
	closed  bool

	flushing sync.Mutex
}

// failing is how long a failed exchange stands for the next: who waited for it fails too.
const failing = time.Second

// day is what a tenant uses on one day. The fields below exchange are guarded by
// Counter.mu.
type day struct {
	tenant events.TenantID
	begin  time.Time // 00:00 UTC

	exchange chan struct{} // holds one who talks to the table about it

	failed   time.Time // when the last exchange failed; zero: it did not
	failure  error
	known    bool      // the tenant exists, by the last read
	read     time.Time // zero: never
	used     time.Time // the last time somebody asked for room
	quota    tenancy.Quota
	total    Amount        // in the table, by the last read
	pending  Amount        // committed here and not in the table yet
	reserved Amount        // of transactions that have not ended
	pace     *rate.Limiter // of the events a second; nil: none were asked for
}

// New creates a counter. A nil log is silent.
func New(pool *pgxpool.Pool, log *zap.Logger) *Counter {
	if log == nil {
		log = zap.NewNop()
	}
	return &Counter{
		pool: pool, log: log.Named("usage"), now: time.Now,
		today: make(map[events.TenantID]*day), pending: make(map[*day]struct{}),
	}
}

// of returns the tenant's present day. c.mu is held.
func (c *Counter) of(tenant events.TenantID) *day {
	begin := c.now().UTC().Truncate(24 * time.Hour)
	d := c.today[tenant]
	if d == nil || !d.begin.Equal(begin) {
		d = &day{tenant: tenant, begin: begin, exchange: make(chan struct{}, 1)} // what is pending of the last day is still in c.pending
		c.today[tenant] = d
	}
	return d
}

// lock waits until nobody else talks to the table about the day. It fails if ctx ends.
func (d *day) lock(ctx context.Context) error {
	select {
	case d.exchange <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the use of a tenant's quota: %w", context.Cause(ctx))
	}
}

func (d *day) unlock() { <-d.exchange }

// lately returns the error of an exchange that failed a moment ago; nil for none.
func (d *day) lately(now time.Time) error {
	if d.failure != nil && now.Sub(d.failed) < failing {
		return d.failure
	}
	return nil
}

// touch records a use, and reports whether the last read is older than age.
func (d *day) touch(now time.Time, age time.Duration) (due bool) {
	d.used = now
	return d.read.IsZero() || now.Sub(d.read) >= age
}

// sum is all that counts against the quota.
func (d *day) sum() Amount { return d.total.plus(d.pending).plus(d.reserved) }
