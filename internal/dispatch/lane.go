package dispatch

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// firstWindow is how many attempts a lane begins with.
	firstWindow = 4
	// A lane queues at most queueFast deliveries, and, once it has shown to be
	// slow, what it drains in drainAhead, but always a few.
	queueFast  = 4096
	queueFirst = 1024
	queueSlow  = 8
	drainAhead = 2 * time.Second
	// pullFirst is what a lane leases from the table before it has shown what
	// it drains: a thousand lanes of dead endpoints must not fill the memory
	// with their backlogs.
	pullFirst = 8

	// slowAttempt is how long an attempt may take before it gives its fast
	// slot back and goes on in the slow pool.
	slowAttempt = attempt.SlowAfter

	// breakerFailures in a row, or breakerTimeouts, open a lane's breaker.
	breakerFailures = 10
	breakerTimeouts = 4
	probeFirst      = time.Second
	probeMax        = time.Minute

	// retryTurn: every retryTurn-th start is a retry's, if one waits.
	retryTurn = 4

	// laneIdle is when an idle lane is forgotten.
	laneIdle = 10 * time.Minute
)

// delivery is a leased row in this process's hands.
type delivery struct {
	subscribers.Leased
	src     *message // nil where it came in no message
	swept   bool     // leased from the table
	lane    *lane
	entry   *subscribers.Entry // as it was when the attempt began
	started time.Time
	pool    *pool // whose slot it holds
	seat    seat  // its place among the attempts in flight
	probe   bool  // it was started to try an open breaker
	claimed bool  // out of the queue; from then on only the ledger lets go
}

// lane is the queue of one webhook's deliveries. The scheduler's mutex guards
// it.
type lane struct {
	id    events.WebhookID
	entry *subscribers.Entry

	first, again fifo // first attempts; retries and replays
	turn         int

	inFlight  int
	window    float64
	threshold float64 // below it the window doubles, above it creeps
	cutAt     time.Time
	slow      bool
	proven    bool // it has delivered

	drained   float64 // completions a second, smoothed
	drainedAt time.Time

	failures, timeouts int // in a row
	open               bool
	probe              time.Duration // the rest before the next probe

	restUntil time.Time // Retry-After, an open breaker, or the rate limit
	limiter   *rate.Limiter

	// nextDue is the earliest time at which the table may have a due row of
	// the lane (Unix microseconds of the database); 0: none known.
	nextDue int64
	pulling bool

	ready   bool
	alarm   time.Time // zero: not in the heap
	alarmAt int
	usedAt  time.Time
	gone    bool // its partition is another's now
}

func (l *lane) queued() int { return l.first.len() + l.again.len() }

// bound is how many deliveries the lane may hold in its queue.
func (l *lane) bound() int {
	switch {
	case l.open, l.entry == nil, !l.entry.Enabled, l.entry.Strict:
		return 1
	case l.slow:
		return max(queueSlow, int(l.window), min(queueFast, int(l.drained*drainAhead.Seconds())))
	case l.drained == 0:
		return queueFirst
	}
	return max(queueFirst, min(queueFast, int(l.drained*drainAhead.Seconds())))
}

// ahead is how many deliveries the lane may hold so that it leases more.
func (l *lane) ahead() int {
	return min(l.bound(), max(pullFirst, int(l.drained*drainAhead.Seconds())))
}

// fast says that the lane makes room within moments, so that waiting for it is
// cheaper than parking.
func (l *lane) fast() bool { return !l.slow && !l.open && l.drained >= 200 }

// cap is how many attempts may be in flight now.
func (l *lane) cap() int {
	if l.open {
		return 1
	}
	limit := 1
	if l.entry != nil && !l.entry.Strict {
		limit = l.entry.MaxInFlight
	}
	return max(1, min(limit, int(l.window)))
}

// take gives the next delivery: first attempts go ahead of retries and
// replays, which still get every fourth start.
func (l *lane) take() *delivery {
	l.turn++
	if l.again.len() > 0 && (l.first.len() == 0 || l.turn%retryTurn == 0) {
		return l.again.pop()
	}
	return l.first.pop()
}

func (l *lane) push(d *delivery) { l.queueOf(d).push(d) }

// queueOf is the queue that a delivery waits in.
func (l *lane) queueOf(d *delivery) *fifo {
	if d.Attempts > 0 || d.IsReplay {
		return &l.again
	}
	return &l.first
}

// learn adapts window, pace and breaker to an attempt's end.
func (l *lane) learn(r *attempt.Result, d *delivery, now time.Time) {
	l.drain(now)
	if r.Delivered {
		l.failures, l.timeouts = 0, 0
		l.open, l.probe = false, 0
		l.slow, l.proven = r.Slow(), true
		// Only a window that was in use has shown that it can be larger.
		if (l.queued() > 0 || l.inFlight+1 >= int(l.window)) && !r.Slow() {
			if l.window < l.threshold {
				l.window++
			} else {
				l.window += 1 / l.window
			}
			if l.entry != nil {
				l.window = min(l.window, float64(l.entry.MaxInFlight))
			}
		}
		return
	}
	if r.Stopped() {
		return
	}
	l.failures++
	if r.Reason == attempt.ReasonTimeout {
		l.timeouts++
		l.slow = true
	} else {
		l.timeouts = 0
	}
	if r.Overload() && d.started.After(l.cutAt) {
		// Once a round: all that was in flight together fails together.
		l.window = max(1, l.window/2)
		l.threshold = l.window
		l.cutAt = now
	}
	if r.RetryAfter > 0 {
		l.rest(now.Add(r.RetryAfter))
	}
	if l.failures >= breakerFailures || l.timeouts >= breakerTimeouts {
		switch {
		case !l.open:
			l.open, l.probe = true, probeFirst
		case d.probe:
			l.probe = min(2*l.probe, probeMax)
		default:
			return // it was on the wire when the breaker opened
		}
		l.window, l.threshold = 1, firstWindow
		l.rest(now.Add(l.stagger(l.probe)))
	}
}

// stagger takes up to a quarter off a rest, by the webhook's id: endpoints that
// went away together are not all tried again at the same moment.
func (l *lane) stagger(rest time.Duration) time.Duration {
	return rest - rest/4*time.Duration(l.id[len(l.id)-1])/256
}

func (l *lane) rest(until time.Time) {
	if until.After(l.restUntil) {
		l.restUntil = until
	}
}

// drain smooths the pace of completions over about a second.
func (l *lane) drain(now time.Time) {
	dt := now.Sub(l.drainedAt).Seconds()
	l.drainedAt = now
	if dt <= 0 {
		dt = 1e-6
	}
	if dt > 5 {
		l.drained = min(1/dt, l.drained)
		return
	}
	// The weight of a sample grows with the time that it stands for.
	w := min(dt, 1.0)
	l.drained += w * (1/dt - l.drained)
}

// fifo is a queue that gives its memory back.
type fifo struct {
	items []*delivery
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) push(d *delivery) { f.items = append(f.items, d) }

func (f *fifo) pop() *delivery {
	if f.len() == 0 {
		return nil
	}
	d := f.items[f.head]
	f.items[f.head] = nil
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
		if cap(f.items) > 64 {
			f.items = nil
		}
	} else if f.head > 64 && f.head > len(f.items)/2 {
		f.items = append(f.items[:0:0], f.items[f.head:]...)
		f.head = 0
	}
	return d
}

func (f *fifo) clear() []*delivery {
	out := append([]*delivery(nil), f.items[f.head:]...)
	f.items, f.head = nil, 0
	return out
}
