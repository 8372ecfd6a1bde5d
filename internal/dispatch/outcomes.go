package dispatch

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// outcomeBatch is the most rows of one commit.
	outcomeBatch = 1000
	// gentleBatch is the most rows of one commit that are not successes, unless
	// thousands wait; after such a commit the writer rests for as long as it
	// took. Otherwise hundreds of endpoints that time out together would take
	// a core, and the disk, from everybody's deliveries.
	gentleBatch = 64
	// outcomeRest is the longest rest after a commit that leaves room to others.
	outcomeRest = 20 * time.Millisecond
	// A writer that gathers rests for gatherRest after a commit, unless gatheredBatch
	// entries wait: at low rates a commit of twenty rows costs little more than one of
	// a single row.
	gatherRest    = 50 * time.Millisecond
	gatheredBatch = 64
	// outcomeLimit waiting entries stop new attempts.
	outcomeLimit = 4096
	// outcomeTimeout bounds one commit.
	outcomeTimeout = 30 * time.Second
	// refusedRest is the time until an outcome is tried again that the database refuses
	// even with fixed values.
	refusedRest = time.Minute
	// refusedRetry bounds the time to the next attempt after such an outcome.
	refusedRetry = 24 * time.Hour
	// textRefused stands for an error that the database refuses.
	textRefused = "the database refused the result of this attempt"
)

type entryKind uint8

const (
	entryOutcome entryKind = iota
	entryRelease
	entryRenew
	// entryReclaim renews the lease of a delivery that is not in a lane yet.
	entryReclaim
)

// entry is one thing to write about a delivery.
type entry struct {
	kind    entryKind
	d       *delivery
	outcome subscribers.Outcome // of entryOutcome
	plain   bool                // the outcome has fixed values: the database refused its own
	kept    bool                // it refused these too, which is logged
}

// replace gives an outcome fixed values in place of those that came from outside.
func (e *entry) replace() {
	e.plain = true
	o := &e.outcome
	o.Response = ""
	o.Retry = min(max(o.Retry, 0), refusedRetry)
	o.StatusCode = http.StatusOK
	if !o.Delivered {
		o.StatusCode, o.Error = 0, textRefused
	}
	if !slices.Contains(attempt.Reasons(), o.Reason) && !o.Unsent {
		o.Reason = attempt.ReasonOther
	}
}

// strict says that it is the outcome of an attempt of a strict webhook.
func (e *entry) strict() bool {
	return e.kind == entryOutcome && e.d.webhook != nil && e.d.webhook.Strict
}

// awaited says that somebody waits for the commit: who fetches a released row, or
// a delivery that is to enter its lane.
func (e *entry) awaited() bool { return e.kind == entryRelease || e.kind == entryReclaim }

// success says that it is the outcome of an attempt that was answered 2xx.
func (e *entry) success() bool { return e.kind == entryOutcome && e.outcome.Delivered }

// written is what became of an entry.
type written struct {
	kind entryKind
	d    *delivery
	// at is when the row is due again after an outcome, or the new end of its
	// lease, in Unix microseconds. 0: the row is final, or its lease was
	// somebody else's.
	at int64
}

// report is what became of a batch of entries.
type report struct {
	entries  []written
	disabled bool // a webhook was disabled
}

// outcomeWriter is the one writer of outcomes. While a commit runs, and in the
// rest that may follow it, the next batch gathers. It hands what became of each
// entry to reports, whose receiver calls applied.
type outcomeWriter struct {
	pool    *pgxpool.Pool
	log     *zap.Logger
	metrics *metrics
	clock   *clock
	reports chan report
	// blocked says that no attempt should start: too much waits, or Postgres
	// is away. A report follows each time it becomes false.
	blocked atomic.Bool
	peers   atomic.Int64 // other live dispatchers, each with its own writer

	work  chan struct{}
	hurry chan struct{} // a strict webhook waits
	// gathers says that the writer may rest to make larger commits. enough ends
	// such a rest.
	gathers atomic.Bool
	enough  chan struct{}

	mu        sync.Mutex
	waiting   []entry
	refused   []entry    // kept by keep
	flushing  bool       // nothing is kept any more
	open      int        // entries that were added and not applied yet
	settled   *sync.Cond // open is 0
	successes successes
}

func newOutcomeWriter(pool *pgxpool.Pool, log *zap.Logger, m *metrics, c *clock) *outcomeWriter {
	w := &outcomeWriter{
		pool: pool, log: log, metrics: m, clock: c, reports: make(chan report),
		work: make(chan struct{}, 1), hurry: make(chan struct{}, 1), enough: make(chan struct{}, 1), successes: newSuccesses(),
	}
	w.settled = sync.NewCond(&w.mu)
	return w
}

// add queues an entry. It does not block.
func (w *outcomeWriter) add(e entry) {
	w.mu.Lock()
	w.waiting = append(w.waiting, e)
	w.open++
	if len(w.waiting)+len(w.refused) > outcomeLimit {
		w.blocked.Store(true)
	}
	enough := len(w.waiting) >= gatheredBatch || e.awaited()
	w.mu.Unlock()
	wake(w.work)
	if e.strict() {
		wake(w.hurry)
	}
	if enough {
		wake(w.enough)
	}
}

// applied says that n reported entries have had their effect.
func (w *outcomeWriter) applied(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open -= n
	if w.open == 0 {
		w.settled.Broadcast()
	}
}

// idle says that everything that was added is applied.
func (w *outcomeWriter) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open == 0
}

// flush waits until everything that was added is applied, or ctx ends. From then
// on the writer gathers no more, and keeps no outcome that the database refuses.
func (w *outcomeWriter) flush(ctx context.Context) error {
	w.gathers.Store(false)
	wake(w.enough)
	w.retryRefused(true)
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.settled.Broadcast()
	})
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.open > 0 && ctx.Err() == nil {
		w.settled.Wait()
	}
	return ctx.Err()
}

// run writes until ctx ends. What is unwritten then stays leased in the table
// and is sent again.
func (w *outcomeWriter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			w.catchUp(context.WithoutCancel(ctx), 0)
			return
		case <-w.successes.due():
			w.catchUp(ctx, touchEvery)
		case <-w.work:
		}
		for ctx.Err() == nil {
			batch, more := w.take()
			if len(batch) == 0 {
				break
			}
			start := time.Now()
			w.write(ctx, batch)
			if w.successes.overdue() {
				w.catchUp(ctx, touchEvery)
			}
			w.rest(ctx, time.Since(start), more)
		}
	}
}

// rest follows a commit that took so long. Where there are other dispatchers
// each leaves Postgres to the others for as long as they need. So all commit as
// often as one alone would, with its batches: a smaller one costs nearly as
// much. A writer that gathers rests on, until enough waits. A strict webhook,
// whose next attempt waits for this outcome, ends the rest.
func (w *outcomeWriter) rest(ctx context.Context, took time.Duration, more bool) {
	peers, hurry := w.peers.Load(), w.hurry
	if more {
		peers, hurry = max(peers, 1), nil
	}
	others := min(time.Duration(max(peers, 0))*took, outcomeRest)
	if !pause(ctx, others, hurry, nil) || more || !w.gathers.Load() {
		return
	}
	pause(ctx, gatherRest-others, hurry, w.enough)
}

// pause waits for d. It returns false if ctx or one of the channels has ended it.
func pause(ctx context.Context, d time.Duration, hurry, enough <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-ctx.Done():
	case <-hurry:
	case <-enough:
	case <-time.After(d):
		return true
	}
	return false
}

// take returns the next batch: all successes, and of the rest as much as leaves
// Postgres to others. more says that such a rest is left, and that it is short
// enough to wait.
func (w *outcomeWriter) take() (batch []entry, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range []chan struct{}{w.hurry, w.enough} {
		select {
		case <-c:
		default:
		}
	}
	rest := 0
	for i := range w.waiting {
		if !w.waiting[i].success() {
			rest++
		}
	}
	room := max(gentleBatch, rest/8)
	more = rest > room && rest < outcomeLimit/4
	var left []entry
	for i := range w.waiting {
		e := &w.waiting[i]
		if len(batch) == outcomeBatch {
			left = append(left, w.waiting[i:]...)
			break
		}
		if !e.success() {
			if room == 0 {
				left = append(left, *e)
				continue
			}
			room--
		}
		batch = append(batch, *e)
	}
	w.waiting = left
	return batch, more
}

// write commits a batch, and retries while the database is away. A batch that
// the database refuses is halved until the entry at fault is alone.
func (w *outcomeWriter) write(ctx context.Context, batch []entry) {
	rows := w.rows(batch)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	for first := true; ; first = false {
		result, err := w.commit(ctx, rows, len(batch))
		switch {
		case err == nil:
			w.unblock()
			w.report(ctx, batch, &result, len(rows.Disable) > 0)
			return
		case ctx.Err() != nil:
			return
		case subscribers.Refused(err) && len(batch) == 1:
			w.writeRefused(ctx, batch[0], err)
			return
		case subscribers.Refused(err):
			half := len(batch) / 2
			w.write(ctx, batch[:half])
			w.write(ctx, batch[half:])
			return
		case first:
			w.log.Warn("outcomes can't be written; no new attempts until they can", zap.Error(err))
			w.blocked.Store(true)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// writeRefused writes an outcome that the database refuses with fixed values. If it
// refuses these too, the entry is kept and tried again later: without an outcome the
// delivery would be sent again after each lease. A refused lease runs out.
func (w *outcomeWriter) writeRefused(ctx context.Context, e entry, err error) {
	switch {
	case e.kind == entryOutcome && !e.plain:
		w.log.Error("the database refuses an outcome; fixed values are written in its place",
			zap.Stringer("delivery", e.d.ID), zap.Stringer("webhook", e.d.WebhookID), zap.Error(err))
		e.replace()
		w.write(ctx, []entry{e})
		return
	case !e.kept:
		w.log.Error("the database refuses what is to be written about a delivery",
			zap.Stringer("delivery", e.d.ID), zap.Stringer("webhook", e.d.WebhookID), zap.Error(err))
	}
	kept := e.kind == entryOutcome && w.keep(e)
	w.unblock()
	if !kept {
		w.report(ctx, []entry{e}, &subscribers.OutcomeResult{}, false)
	}
}

// keep keeps an entry until its next try. It returns false if the writer is to end.
func (w *outcomeWriter) keep(e entry) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flushing {
		return false
	}
	e.kept = true
	w.refused = append(w.refused, e)
	if len(w.refused) == 1 {
		time.AfterFunc(refusedRest, func() { w.retryRefused(false) })
	}
	return true
}

// retryRefused has the kept entries written again, for the last time if the writer is
// to end.
func (w *outcomeWriter) retryRefused(last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushing = w.flushing || last
	w.waiting = append(w.waiting, w.refused...)
	w.refused = nil
	wake(w.work)
}

func (w *outcomeWriter) commit(ctx context.Context, rows *subscribers.OutcomeBatch, n int) (subscribers.OutcomeResult, error) {
	faults.At(faults.OutcomesBegun)
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, outcomeTimeout)
	defer cancel()
	result, err := subscribers.WriteOutcomes(ctx, w.pool, rows)
	if err != nil {
		return result, err
	}
	faults.At(faults.OutcomesCommitted)
	w.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	w.metrics.commitRows.Observe(float64(n))
	w.metrics.stale.Add(float64(result.Stale))
	return result, nil
}

// unblock lets attempts start again when half of the limit is free.
func (w *outcomeWriter) unblock() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting)+len(w.refused) <= outcomeLimit/2 {
		w.blocked.Store(false)
	}
}

// rows turns entries into what one commit writes.
func (w *outcomeWriter) rows(batch []entry) *subscribers.OutcomeBatch {
	b := &subscribers.OutcomeBatch{}
	if at := w.clock.latest(); at > 0 {
		b.RenewTo = at + subscribers.LeaseDuration.Microseconds()
	}
	now := time.Now()
	for i := range batch {
		e := &batch[i]
		switch lease := (subscribers.Lease{Ref: e.d.ref(), Lease: e.d.Lease}); e.kind {
		case entryOutcome:
			b.Outcomes = append(b.Outcomes, e.outcome)
			id := e.outcome.WebhookID
			if e.outcome.Delivered && w.successes.touch(id, now) {
				b.Touch = append(b.Touch, id)
			}
			if e.outcome.Reason == attempt.ReasonGone && !slices.Contains(b.Disable, id) {
				b.Disable = append(b.Disable, id)
			}
		case entryRelease:
			lease.Pause = e.d.pause
			b.Release = append(b.Release, lease)
		case entryReclaim:
			if e.d.tenure.holds() { // else the message is the next owner's
				b.Renew = append(b.Renew, lease)
			}
		case entryRenew:
			b.Renew = append(b.Renew, lease)
		}
	}
	// All writers lock rows in the same order, so that two can't deadlock.
	slices.SortFunc(b.Touch, compareIDs)
	slices.SortFunc(b.Disable, compareIDs)
	return b
}

// catchUp writes the owed successes of webhooks that were not written for so long. If
// the database is away, they are tried again.
func (w *outcomeWriter) catchUp(ctx context.Context, since time.Duration) {
	now := time.Now()
	owed := w.successes.take(since, now)
	if len(owed) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if _, err := subscribers.WriteOutcomes(ctx, w.pool, &subscribers.OutcomeBatch{Delivered: owed}); err != nil {
		w.log.Warn("the times of the last deliveries can't be written yet", zap.Int("webhooks", len(owed)), zap.Error(err))
		for _, s := range owed {
			w.successes.owed[s.WebhookID] = now.Add(-s.Ago)
		}
	}
}

// report hands over what became of a batch.
func (w *outcomeWriter) report(ctx context.Context, batch []entry, result *subscribers.OutcomeResult, disabled bool) {
	r := report{entries: make([]written, len(batch)), disabled: disabled}
	for i := range batch {
		e := written{kind: batch[i].kind, d: batch[i].d}
		switch e.kind {
		case entryOutcome:
			e.at = result.Next[e.d.ID]
		case entryRenew, entryReclaim:
			e.at = result.Renewed[e.d.ID]
		case entryRelease:
		}
		r.entries[i] = e
	}
	select {
	case w.reports <- r:
	case <-ctx.Done():
	}
}
