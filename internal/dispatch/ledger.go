package dispatch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// ledgerBatch is the most rows of one commit.
	ledgerBatch = 1000
	// ledgerGentle is the most rows of one commit that are no successes, unless
	// thousands wait; after such a commit the ledger rests for as long as it
	// took. Hundreds of endpoints that time out at the same moment would else
	// take a core, and the disk, from everybody's deliveries.
	ledgerGentle = 64
	// ledgerRest is the longest that the ledger rests after a commit.
	ledgerRest = 20 * time.Millisecond
	// ledgerPause stops new attempts while so many entries wait for Postgres.
	ledgerPause = 4096
	// touchEvery bounds how often a webhook's last_delivered_at is written.
	touchEvery = 5 * time.Second
)

// entry is one thing to write about a delivery, and what to do when it is
// written.
type entry struct {
	kind    entryKind
	d       *delivery
	outcome subscribers.Outcome
	// done is called after the commit with what became of the row: when it is
	// due again or its lease ends (Unix microseconds; 0: neither), and, for a
	// renewal, whether the row took it.
	done func(at int64, took bool)
}

type entryKind int

const (
	entryOutcome entryKind = iota
	entryPark
	entryRenew
)

// ledger is the one writer of outcomes. While one commit is in flight, and in
// the rest that may follow it, the next gathers.
type ledger struct {
	pool    *pgxpool.Pool
	log     *zap.Logger
	metrics *metrics
	pause   func(bool)
	gone    func()       // a webhook was disabled
	peers   atomic.Int64 // other live dispatchers, each with its own ledger
	hurry   chan struct{}

	mu      sync.Mutex
	waiting []entry
	paused  bool
	wake    chan struct{}
	idle    *sync.Cond // the ledger has nothing waiting and nothing in flight
	writing bool
	touched map[events.WebhookID]time.Time
}

func newLedger(pool *pgxpool.Pool, log *zap.Logger, m *metrics, pause func(bool), gone func()) *ledger {
	l := &ledger{pool: pool, log: log, metrics: m, pause: pause, gone: gone, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), touched: make(map[events.WebhookID]time.Time)}
	l.idle = sync.NewCond(&l.mu)
	return l
}

func (l *ledger) add(e entry) {
	l.mu.Lock()
	l.waiting = append(l.waiting, e)
	pause := !l.paused && len(l.waiting) > ledgerPause
	if pause {
		l.paused = true
	}
	l.mu.Unlock()
	if pause {
		l.pause(true)
	}
	ring(l.wake)
	if e.strict() {
		ring(l.hurry)
	}
}

// flushed waits until everything that was added is written, or ctx ends.
func (l *ledger) flushed(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.idle.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for (len(l.waiting) > 0 || l.writing) && ctx.Err() == nil {
		l.idle.Wait()
	}
	return ctx.Err()
}

// run writes until ctx ends. What is then unwritten stays leased in the table
// and comes again.
func (l *ledger) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		for ctx.Err() == nil {
			batch, more := l.take()
			if len(batch) == 0 {
				break
			}
			start := time.Now()
			l.write(ctx, batch)
			l.rest(ctx, time.Since(start), more)
			l.mu.Lock()
			l.writing = false
			if len(l.waiting) == 0 {
				l.idle.Broadcast()
			}
			l.mu.Unlock()
		}
	}
}

// rest follows a commit that took so long. Where there are other dispatchers
// each leaves Postgres to the others for as long as they need, so that all
// commit as often as one alone would, with its batches: a smaller one costs
// nearly as much. A strict lane, whose next attempt waits for the outcome of
// the one before, does not have to.
func (l *ledger) rest(ctx context.Context, took time.Duration, more bool) {
	peers := l.peers.Load()
	if more {
		peers = max(peers, 1)
	}
	if peers <= 0 {
		return
	}
	hurry := l.hurry
	if more {
		hurry = nil
	}
	select {
	case <-ctx.Done():
	case <-hurry:
	case <-time.After(min(time.Duration(peers)*took, ledgerRest)):
	}
}

// take gives the next batch: all successes, and of the rest what leaves
// Postgres to others. More says that there is such a rest, and that it is short
// enough to wait.
func (l *ledger) take() (batch []entry, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.hurry:
	default:
	}
	rest := 0
	for i := range l.waiting {
		if !l.waiting[i].success() {
			rest++
		}
	}
	room := max(ledgerGentle, rest/8)
	more = rest > room && rest < ledgerPause/4
	var left []entry
	for i, e := range l.waiting {
		if len(batch) == ledgerBatch {
			left = append(left, l.waiting[i:]...)
			break
		}
		if !e.success() {
			if room == 0 {
				left = append(left, e)
				continue
			}
			room--
		}
		batch = append(batch, e)
	}
	l.waiting = left
	l.writing = len(batch) > 0
	return batch, more
}

// strict says that it is the outcome of an attempt of a strict lane.
func (e *entry) strict() bool {
	return e.kind == entryOutcome && e.d.entry != nil && e.d.entry.Strict
}

// success says that the entry is the outcome of an attempt that was answered
// 2xx.
func (e *entry) success() bool { return e.kind == entryOutcome && e.outcome.Delivered }

// write commits a batch, waiting out a database that is away. A batch that the
// database refuses is halved until the entry at fault stands alone; that one's
// lease runs out, and it is tried again with its next attempt.
func (l *ledger) write(ctx context.Context, batch []entry) {
	book := l.book(batch)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	for first := true; ; first = false {
		faults.At(faults.OutcomesBegun)
		start := time.Now()
		call, cancel := context.WithTimeout(ctx, 30*time.Second)
		written, err := subscribers.WriteOutcomes(call, l.pool, book)
		cancel()
		if err == nil {
			faults.At(faults.OutcomesCommitted)
			l.metrics.ledgerSeconds.Observe(time.Since(start).Seconds())
			l.metrics.ledgerRows.Observe(float64(len(batch)))
			l.resume()
			l.settle(batch, &written, len(book.Disable) > 0)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if subscribers.Refused(err) {
			if len(batch) == 1 {
				l.log.Error("the database refuses an outcome", zap.Stringer("delivery", batch[0].d.ID), zap.Error(err))
				batch[0].done(0, false)
				return
			}
			half := len(batch) / 2
			l.write(ctx, batch[:half])
			l.write(ctx, batch[half:])
			return
		}
		if first {
			l.log.Warn("outcomes can't be written; no new attempts until they can", zap.Error(err))
			l.mu.Lock()
			l.paused = true
			l.mu.Unlock()
			l.pause(true)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

func (l *ledger) resume() {
	l.mu.Lock()
	lift := l.paused && len(l.waiting) <= ledgerPause/2
	if lift {
		l.paused = false
	}
	l.mu.Unlock()
	if lift {
		l.pause(false)
	}
}

func (l *ledger) book(batch []entry) *subscribers.OutcomeBatch {
	b := &subscribers.OutcomeBatch{}
	now := time.Now()
	for i := range batch {
		e := &batch[i]
		switch e.kind {
		case entryOutcome:
			b.Outcomes = append(b.Outcomes, e.outcome)
			id := e.outcome.WebhookID
			if e.outcome.Delivered && now.Sub(l.touched[id]) >= touchEvery {
				l.touched[id] = now
				b.Touch = append(b.Touch, id)
			}
			if e.outcome.Reason == attempt.ReasonGone && !slices.Contains(b.Disable, id) {
				b.Disable = append(b.Disable, id)
			}
		case entryPark:
			b.Release = append(b.Release, subscribers.Lease{Ref: e.d.Ref, Lease: e.d.Lease})
		case entryRenew:
			b.Renew = append(b.Renew, subscribers.Lease{Ref: e.d.Ref, Lease: e.d.Lease})
		}
	}
	// In one order everywhere, so that two ledgers can't deadlock.
	slices.SortFunc(b.Touch, compareIDs)
	slices.SortFunc(b.Disable, compareIDs)
	return b
}

func compareIDs(a, b events.WebhookID) int { return slices.Compare(a[:], b[:]) }

func (l *ledger) settle(batch []entry, w *subscribers.OutcomeResult, disabled bool) {
	l.metrics.stale.Add(float64(w.Stale))
	for i := range batch {
		e := &batch[i]
		switch e.kind {
		case entryOutcome:
			e.done(w.Next[e.d.ID], true)
		case entryPark:
			e.done(0, true)
		case entryRenew:
			at, ok := w.Renewed[e.d.ID]
			e.done(at, ok)
		}
	}
	if disabled {
		l.gone()
	}
	if len(l.touched) > 50_000 {
		clear(l.touched)
	}
}
