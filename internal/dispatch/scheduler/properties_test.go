package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fanmail-dev/fanmail/events"
)

// TestTheSchedulerKeepsItsPromises runs long random histories. Each step is
// checked by the world's books; in the end everything that is pending must be
// delivered within bounded time, or, after a stop, be released.
func TestTheSchedulerKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range rapid.IntRange(20, 400).Draw(rt, "steps") {
			w.step()
			w.settle()
		}
		if rapid.Bool().Draw(rt, "stops") {
			w.stop()
		} else {
			w.recover()
		}
	})
}

// step is one random input.
func (w *world) step() {
	h := rapid.SampledFrom(w.hooks).Draw(w.t, "webhook")
	switch rapid.SampledFrom([]string{
		"insert", "insert", "time", "time", "time", "finish", "finish", "finish", "write", "write", "write", "fetch", "fetch",
		"lease", "change", "own", "block",
	}).Draw(w.t, "what") {
	case "insert":
		w.insert(h, rapid.IntRange(1, 20).Draw(w.t, "rows"), rapid.Bool().Draw(w.t, "fed"))
	case "time":
		w.pass(rapid.SampledFrom([]time.Duration{time.Millisecond, 50 * time.Millisecond, time.Second, 1200 * time.Millisecond, 5 * time.Second, time.Minute}).Draw(w.t, "time"))
	case "finish":
		for range rapid.IntRange(1, 5).Draw(w.t, "attempts") {
			if d := w.oldest(); d != nil {
				w.finish(d, w.result(d))
			}
		}
	case "write":
		for range rapid.IntRange(1, 10).Draw(w.t, "writes") {
			if len(w.record) > 0 {
				w.write(rapid.IntRange(0, len(w.record)-1).Draw(w.t, "which"))
			}
		}
	case "fetch":
		w.answerFetch()
	case "lease":
		w.lease(rapid.SampledFrom([]time.Duration{0, 6 * time.Second, time.Hour}).Draw(w.t, "lease"))
	case "change":
		w.change(h, rapid.SampledFrom([]Status{Active, Active, Active, Disabled, Disabled, Deleted}).Draw(w.t, "status"),
			rapid.SampledFrom([]int{h.w.RateLimit, 0, 5}).Draw(w.t, "rate"))
	case "own":
		owned := everything()
		owned[events.Partition(h.w.ID)] = rapid.Bool().Draw(w.t, "owned")
		w.own(owned)
	case "block":
		w.blocked = rapid.Bool().Draw(w.t, "blocked")
		w.s.Block(w.blocked)
	}
}

// oldest is the attempt in flight that began first.
func (w *world) oldest() (first *Delivery) {
	for d, f := range w.inFlight {
		if first == nil || f.started.Before(w.inFlight[first].started) ||
			f.started.Equal(w.inFlight[first].started) && slices.Compare(d.ID[:], first.ID[:]) < 0 {
			first = d
		}
	}
	return first
}

// Endpoints answer as their webhook's health says: well, anyhow, or badly.
var health = [][]Outcome{
	{Delivered}, {Delivered, Delivered, Failed, Overloaded, TimedOut, Stopped}, {Failed, Failed, Failed, Overloaded, Stopped}, {TimedOut, TimedOut, Failed},
}

func (w *world) result(d *Delivery) Result {
	r := Result{
		Outcome:  rapid.SampledFrom(health[d.Payload.(*row).hook.health]).Draw(w.t, "outcome"),
		Duration: rapid.SampledFrom([]time.Duration{time.Millisecond, 2 * time.Second}).Draw(w.t, "duration"),
	}
	r.Latency = r.Duration / time.Duration(rapid.IntRange(1, 3).Draw(w.t, "connecting"))
	if r.Outcome == Overloaded && rapid.Bool().Draw(w.t, "asks to wait") {
		r.RetryAfter = 10 * time.Second
	}
	return r
}

// recover makes everything well and expects every row to be finished, by no
// other calls than the answers and those that the scheduler asked for. A rescue
// tells it every 5 s of what it does not know.
func (w *world) recover() {
	w.lease(1000 * time.Hour)
	w.blocked = false
	w.s.Block(false)
	w.own(everything())
	for _, h := range w.hooks {
		w.change(h, Active, h.w.RateLimit)
	}
	w.settle()
	rescued := w.now.Time
	for turns := 0; w.unfinished() > 0; turns++ {
		require.Less(w.t, turns, 20_000, "%d rows wait for ever", w.unfinished())
		for d := w.oldest(); d != nil; d = w.oldest() {
			w.finish(d, fine)
		}
		for len(w.record) > 0 {
			w.write(0)
		}
		w.answerFetch()
		w.settle()
		if len(w.inFlight)+len(w.record)+len(w.fetch) > 0 {
			w.pass(time.Millisecond)
			continue
		}
		next := rescued.Add(5 * time.Second)
		if w.wakeAt.Before(next) {
			w.pass(max(time.Microsecond, w.wakeAt.Sub(w.now.Time)))
			w.settle()
			continue
		}
		w.pass(max(time.Microsecond, next.Sub(w.now.Time)))
		rescued = w.now.Time
		for _, h := range w.hooks {
			if pending := w.pending(h.w.ID, h.w.Strict); len(pending) > 0 {
				w.s.Due(w.now, &h.w, pending[0].nextAt)
			}
		}
		w.settle()
	}
}

func (w *world) unfinished() (n int) {
	for _, r := range w.rows {
		if !r.final {
			n++
		}
	}
	return n
}

// stop expects that nothing is held once the attempts in flight have ended and
// all is written.
func (w *world) stop() {
	w.stopped = true
	w.s.Stop()
	w.settle()
	for d := w.oldest(); d != nil; d = w.oldest() {
		require.Zero(w.t, w.idle, "attempts are in flight")
		w.finish(d, w.result(d))
		w.settle()
	}
	require.Equal(w.t, 1, w.idle)
	for len(w.record) > 0 {
		w.write(0)
		w.settle()
	}
	require.Empty(w.t, w.s.held)
	require.Zero(w.t, w.s.budget.bytes)
	require.Equal(w.t, 1, w.idle)
}
