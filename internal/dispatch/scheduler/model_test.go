package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fanmail-dev/fanmail/events"
)

// A world is a table of rows, endpoints and a dispatcher's shell, all in
// memory, around one scheduler. It follows each delivery by its own books and
// compares every command with them.
type world struct {
	t     *rapid.T
	s     *Scheduler
	now   Now
	start time.Time

	// unordered worlds feed rows of strict webhooks as they come.
	unordered bool

	hooks []*hookModel
	rows  map[events.DeliveryID]*row
	count int

	held     map[*Delivery]stage
	inFlight map[*Delivery]*flightModel
	record   []Command // that wait to be written
	outcomes map[*Delivery]Result
	fetch    []Command // the fetch that is running

	owned      [events.Partitions]bool
	leaseUntil time.Time
	blocked    bool
	wakeAt     time.Time
	idle       int
	stopped    bool
}

type stage int

const (
	stageQueued stage = iota
	stageInFlight
	stageRecording
)

type flightModel struct {
	started time.Time
	slow    bool
	probe   bool
}

// row is a row of the table. Its delivery has one for each lease.
type row struct {
	id       events.DeliveryID
	hook     *hookModel
	seq      int
	attempts int
	nextAt   int64 // due, or the end of the lease
	final    bool
	gone     bool // its event is no longer kept
	replay   bool
}

// hookModel is a webhook, its endpoint, and what its lane should have learned.
type hookModel struct {
	w      Webhook
	health int // of its endpoint

	restUntil          time.Time
	failures, timeouts int
	open               bool
	openings           int // rests in a row
	starts             []time.Time
	passedOver         int // starts of first attempts while a retry waited
	usedAt             time.Time
}

func newWorld(t *rapid.T) *world {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &world{
		t: t, now: Now{Time: at}, start: at, rows: map[events.DeliveryID]*row{}, held: map[*Delivery]stage{},
		inFlight: map[*Delivery]*flightModel{}, outcomes: map[*Delivery]Result{},
		s: New(Options{
			FastSlots: rapid.IntRange(1, 12).Draw(t, "fast slots"), SlowSlots: rapid.IntRange(1, 40).Draw(t, "slow slots"),
			Cores: 1, LeaseLeft: attemptTimeout + time.Second,
		}),
	}
	w.pass(0)
	w.unordered = rapid.Bool().Draw(t, "unordered")
	for i := range rapid.IntRange(1, 6).Draw(t, "webhooks") {
		h := &hookModel{health: rapid.IntRange(0, len(health)-1).Draw(t, "health"), w: Webhook{
			ID: events.WebhookID{byte(i * 37)}, TenantID: events.TenantID{byte(rapid.IntRange(1, 3).Draw(t, "tenant"))},
			MaxInFlight: rapid.IntRange(1, 6).Draw(t, "max in flight"), Strict: rapid.IntRange(0, 3).Draw(t, "strict") == 0,
			RateLimit: rapid.SampledFrom([]int{0, 0, 0, 1, 10, 50}).Draw(t, "rate"),
		}}
		h.w.Payload = h
		w.hooks = append(w.hooks, h)
	}
	w.owned = everything()
	w.s.Own(w.owned)
	w.lease(6 * time.Second)
	return w
}

// pass lets time go by on both clocks, whose difference is known to 3 ms.
func (w *world) pass(d time.Duration) {
	w.now.Time = w.now.Time.Add(d)
	w.now.Earliest = w.now.Time.UnixMicro() - 2000
	w.now.Latest = w.now.Time.UnixMicro() + 1000
}

func (w *world) lease(d time.Duration) {
	w.leaseUntil = w.now.Time.Add(d)
	w.s.Lease(w.leaseUntil)
}

// db is the time of the database.
func (w *world) db() int64 { return w.now.Time.UnixMicro() }

// insert makes rows; some are fed to the lane, the rest are hinted at.
func (w *world) insert(h *hookModel, n int, fed bool) {
	for range n {
		w.count++
		r := &row{hook: h, seq: w.count, nextAt: w.db(), gone: w.count%17 == 0, replay: w.count%5 == 0}
		r.id[8], r.id[9], r.id[10] = byte(w.count), byte(w.count>>8), 1
		w.rows[r.id] = r
		if fed && (w.unordered || !h.w.Strict) && h.w.Status == Active {
			r.nextAt += (30 * time.Second).Microseconds()
			w.offer(r)
		}
	}
	w.s.Due(w.now, &h.w, w.db())
}

// The memory that envelopes are cut out of: 4 MiB each, all different.
var envelopes = make([]byte, 64<<20)

// offer adds a leased row to its lane.
func (w *world) offer(r *row) {
	d := &Delivery{ID: r.id, WebhookID: r.hook.w.ID, Lease: r.nextAt, Attempts: r.attempts, IsReplay: r.replay}
	if !r.gone {
		at := r.seq % 32 << 10
		d.Envelope = envelopes[at : at+4<<20]
	}
	d.Payload = r
	queued := w.queued(r.hook)
	exhausted := w.bytes() > budgetBytes
	switch w.s.Add(w.now, d, &r.hook.w) {
	case Queued:
		require.True(w.t, w.owned[events.Partition(d.WebhookID)], "the partition is owned")
		require.Equal(w.t, Active, r.hook.w.Status)
		require.False(w.t, exhausted && queued > 0, "beyond the memory budget a lane holds one delivery")
		w.held[d] = stageQueued
	case Duplicate:
		for h := range w.held {
			if h.ID == d.ID {
				return
			}
		}
		require.Fail(w.t, "a duplicate of nothing")
	case Full, Busy, Foreign:
		w.record = append(w.record, Command{Kind: Release, Delivery: d})
	case Ended:
		w.record = append(w.record, Command{Kind: EndDeleted, Delivery: d})
	}
}

func (w *world) queued(h *hookModel) (n int) {
	for d, s := range w.held {
		if s == stageQueued && d.WebhookID == h.w.ID {
			n++
		}
	}
	return n
}

func (w *world) flying(h *hookModel) (n int) {
	for d := range w.inFlight {
		if d.WebhookID == h.w.ID {
			n++
		}
	}
	return n
}

// bytes is the memory of what is held, by other means than the scheduler's.
func (w *world) bytes() int {
	n, seen := 0, map[*byte]bool{}
	for d := range w.held {
		n += deliveryBytes
		if d.Envelope != nil && !seen[&d.Envelope[0]] {
			seen[&d.Envelope[0]] = true
			n += len(d.Envelope)
		}
	}
	return n
}

// settle calls Advance and carries out the commands.
func (w *world) settle() {
	for d, f := range w.inFlight {
		f.slow = f.slow || d.phase == phaseFast && w.now.Time.Sub(f.started) >= slowAttempt
	}
	w.s.Advance(w.now)
	w.carryOut()
	w.check()
}

// carryOut follows the commands.
func (w *world) carryOut() {
	for _, c := range slices.Clone(w.s.Commands()) {
		d := c.Delivery
		switch c.Kind {
		case Start:
			w.started(d)
		case Renew, EndExpired:
			require.Equal(w.t, stageQueued, w.held[d])
			if c.Kind == EndExpired {
				require.True(w.t, d.Payload.(*row).gone)
			}
			w.held[d] = stageRecording
			w.record = append(w.record, c)
		case Release, EndDeleted:
			_, flying := w.inFlight[d]
			require.False(w.t, flying, "an attempt in flight is not released")
			w.held[d] = stageRecording
			w.record = append(w.record, c)
		case Fetch:
			require.Positive(w.t, c.Room)
			require.True(w.t, w.now.Time.Before(w.leaseUntil), "rows are fetched under the partitions' lease")
			w.fetch = append(w.fetch, c)
		case Wake:
			require.True(w.t, c.At.After(w.now.Time))
			w.wakeAt = c.At
		case RoomAvailable:
		case Idle:
			w.idle++
		}
	}
}

// finish ends an attempt.
func (w *world) finish(d *Delivery, r Result) {
	f, h := w.inFlight[d], d.Payload.(*row).hook
	delete(w.inFlight, d)
	w.held[d] = stageRecording
	if r.Outcome != Stopped {
		w.outcomes[d] = r
		w.record = append(w.record, Command{Delivery: d})
	}
	h.learn(r, f.probe, w.now.Time)
	w.s.Finish(w.now, d, r)
	w.carryOut()
	w.forgotten()
}

// learn is a breaker and a rest by other means than the lane's.
func (h *hookModel) learn(r Result, probe bool, now time.Time) {
	switch r.Outcome {
	case Stopped:
		return
	case Delivered:
		h.failures, h.timeouts, h.open, h.openings = 0, 0, false, 0
		return
	case TimedOut:
		h.timeouts++
	case Failed, Overloaded:
		h.timeouts = 0
	}
	h.failures++
	if rest := now.Add(r.RetryAfter); r.RetryAfter > 0 && rest.After(h.restUntil) {
		h.restUntil = rest
	}
	if !h.open && (h.failures >= 10 || h.timeouts >= 4) || h.open && probe {
		h.open = true
		rest := min(time.Second<<min(h.openings, 10), time.Minute)
		h.openings++
		if until := now.Add(rest * 3 / 4); until.After(h.restUntil) {
			h.restUntil = until
		}
	}
}

// write commits what waits to be written, in any order.
func (w *world) write(i int) {
	c := w.record[i]
	w.record = slices.Delete(w.record, i, i+1)
	d := c.Delivery
	r := d.Payload.(*row)
	if c.Kind == Renew {
		if r.final || r.nextAt != d.Lease {
			w.forget(d)
			w.s.Renewed(w.now, d, 0)
			return
		}
		r.nextAt = w.db() + (5 * time.Minute).Microseconds()
		w.held[d] = stageQueued
		w.s.Renewed(w.now, d, r.nextAt)
		w.carryOut()
		return
	}
	next := int64(0)
	switch o, attempted := w.outcomes[d]; {
	case c.Kind == Release:
		if !r.final && r.nextAt == d.Lease {
			r.nextAt = w.db()
		}
		next = w.now.Latest
	case c.Kind == EndExpired, c.Kind == EndDeleted:
		r.final = true
	case attempted && o.Outcome == Delivered, r.attempts >= 7:
		r.final = true
	case !r.final:
		r.attempts++
		r.nextAt = w.db() + (time.Duration(r.attempts) * 10 * time.Second).Microseconds()
		next = r.nextAt
	}
	w.forget(d)
	w.s.Recorded(w.now, d, next)
	w.carryOut() // a later lease is released
}

func (w *world) forget(d *Delivery) {
	delete(w.held, d)
	delete(w.outcomes, d)
}

// answerFetch leases rows as the table does, and adds them.
func (w *world) answerFetch() {
	requests := w.fetch
	w.fetch = nil
	results := make([]FetchResult, len(requests))
	for i, c := range requests {
		results[i] = FetchResult{WebhookID: c.Webhook}
		pending := w.pending(c.Webhook, c.Strict)
		for _, r := range pending {
			if results[i].Rows == c.Room || r.nextAt > w.db() || c.Strict && r != pending[0] {
				break
			}
			results[i].Rows++
			r.nextAt = w.db() + (5 * time.Minute).Microseconds()
			w.offer(r)
		}
		if pending = w.pending(c.Webhook, c.Strict); len(pending) > 0 {
			results[i].Next = pending[0].nextAt
		}
	}
	w.s.Fetched(w.now, results)
}

// pending are the webhook's rows in the order in which they are fetched.
func (w *world) pending(id events.WebhookID, strict bool) (out []*row) {
	for _, r := range w.rows {
		if r.hook.w.ID == id && !r.final {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *row) int {
		if strict {
			return a.seq - b.seq
		}
		return cmp.Or(cmp.Compare(a.nextAt, b.nextAt), a.seq-b.seq)
	})
	return out
}

// change gives a webhook new settings.
func (w *world) change(h *hookModel, status Status, rate int) {
	if h.w.Status == Deleted {
		return
	}
	if h.w.Status == Disabled && status == Active {
		*h = hookModel{w: h.w, health: h.health, starts: h.starts, usedAt: h.usedAt}
	}
	if rate != h.w.RateLimit {
		h.starts = nil
	}
	h.w.Status, h.w.RateLimit = status, rate
	w.s.Change(w.now, &h.w)
	w.carryOut()
}

// own changes the owned partitions.
func (w *world) own(owned [events.Partitions]bool) {
	w.owned = owned
	w.s.Own(owned)
	w.carryOut()
	w.forgotten()
}

// forgotten follows the lanes that are no longer there, which forget what they
// learned: those of other partitions, and those that nobody uses.
func (w *world) forgotten() {
	for _, h := range w.hooks {
		if w.s.lanes[h.w.ID] != nil {
			continue
		}
		require.Zero(w.t, w.flying(h), "what is in flight counts")
		if w.owned[events.Partition(h.w.ID)] && !h.usedAt.IsZero() {
			require.Greater(w.t, w.now.Time.Sub(h.usedAt), evictAfter)
		}
		*h = hookModel{w: h.w, health: h.health}
	}
}
