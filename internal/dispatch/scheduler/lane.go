package scheduler

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// A lane queues at most queueFast deliveries: queueFirst until its rate is
	// known, then what it completes in lookAhead. A slow lane queues less, but
	// always a few.
	queueFast  = 4096
	queueFirst = 1024
	queueSlow  = 8
	lookAhead  = 2 * time.Second

	// slowAttempt is how long an attempt may take before it moves from its
	// fast slot to a slow one.
	slowAttempt = time.Second
	// quickLane is the rate at which waiting for room is cheaper than a write
	// and a read of the row.
	quickLane = 200

	// retryTurn: every retryTurn-th start is a retry's or a replay's, if one
	// waits.
	retryTurn = 4
)

// phase is where a delivery stands. It is one value, so that a delivery is
// never in two places.
type phase uint8

const (
	phaseNew       phase = iota // not admitted, or already forgotten
	phaseQueued                 // in its lane's queue
	phaseFast                   // in flight on a fast slot
	phaseSlow                   // in flight on a slow slot
	phaseRecording              // its row is being written; it has no slot
)

// Delivery is a leased row that this process holds. The caller sets the
// exported fields; only the scheduler changes Lease afterwards.
type Delivery struct {
	ID        events.DeliveryID
	WebhookID events.WebhookID
	// Lease is when the row's lease ends, in Unix microseconds of the
	// database's clock.
	Lease int64
	// Own says that this process took the lease, by a fetch or a renewal.
	Own bool
	// Attempts made so far.
	Attempts int
	// IsReplay lets what is new go first.
	IsReplay bool
	// Envelope is the body to POST. Its first byte's address identifies it, so
	// that deliveries that share it count once. Nil: the event has expired.
	Envelope []byte
	// Payload is the caller's; the scheduler does not read it.
	Payload any

	// later is a lease that the row got by a fetch while this delivery was in flight
	// or its outcome waited; 0: none. It is released once the outcome is written.
	later      int64
	lane       *lane // nil: never admitted
	phase      phase
	unproven   bool // its attempt counts as its tenant's on unproven lanes
	started    time.Time
	prev, next *Delivery // in the in-flight list, while phaseFast
}

// supersede takes over a later lease of the row. The lease of an attempt that has begun
// stays: its outcome is written under it.
func (d *Delivery) supersede(lease int64) {
	if d.phase == phaseQueued {
		d.Lease = lease
		return
	}
	d.later = max(d.later, lease)
}

// Webhook returns the settings that the delivery's lane has now. The delivery
// must have been admitted.
func (d *Delivery) Webhook() *Webhook { return &d.lane.webhook }

// pace is what a lane has shown of its endpoint.
type pace uint8

const (
	paceUnproven pace = iota // it has not delivered yet
	paceFast
	paceSlow
)

// tenure says whether the lane's partition is this process's.
type tenure uint8

const (
	tenureOwned tenure = iota
	// tenureLost: the partition went, and attempts are still in flight. The
	// lane is kept so that they count if the partition comes back.
	tenureLost
)

// turn says whether the lane is in its tenant's list of lanes that can start.
type turn uint8

const (
	turnNone turn = iota
	turnWaiting
)

// room says whether a caller waits for room in the lane.
type room uint8

const (
	roomUnwanted room = iota
	roomAwaited
)

type fetchState uint8

const (
	fetchIdle   fetchState = iota
	fetchWanted            // in the scheduler's list of lanes to fetch for
	fetchActive            // a fetch of its rows is running
	// fetchStalled: a row is due and was not leased. Another transaction has it
	// locked, or a strict line waits for an earlier event.
	fetchStalled
)

// fetch is what a lane knows of its rows in the table. Times are Unix
// microseconds of the database's clock; 0: none is known.
type fetch struct {
	state fetchState
	due   int64 // the earliest time at which a row may be due
	hint  int64 // the same, as heard while a fetch was running
}

// running says that rows are being fetched, or will be.
func (f *fetch) running() bool { return f.state == fetchWanted || f.state == fetchActive }

// lane is the queue of one webhook's deliveries.
type lane struct {
	webhook Webhook
	tenure  tenure
	turn    turn
	room    room

	first, again queue[*Delivery] // first attempts; retries and replays
	starts       int
	inFlight     int

	window    window
	pace      pace
	rate      observedRate
	breaker   breaker
	restUntil time.Time // by Retry-After, the breaker or the rate limit
	limiter   *rate.Limiter
	fetch     fetch

	timerAt time.Time
	timer   int // index in the timers; -1: none is set
	usedAt  time.Time
}

func newLane(w *Webhook, size float64, now time.Time) *lane {
	l := &lane{webhook: *w, window: newWindow(size), rate: observedRate{at: now}, timer: -1, usedAt: now}
	l.limit()
	return l
}

// limit follows a change of the webhook's rate limit. The bucket holds a tenth
// of a second's worth, at least one.
func (l *lane) limit() {
	if n := l.webhook.RateLimit; n == 0 {
		l.limiter = nil
	} else if l.limiter == nil || l.limiter.Limit() != rate.Limit(n) {
		l.limiter = rate.NewLimiter(rate.Limit(n), max(1, n/10))
	}
}

func (l *lane) queued() int { return l.first.len() + l.again.len() }

// bound returns how many deliveries the lane may queue.
func (l *lane) bound() int {
	ahead := min(queueFast, l.rate.in(lookAhead))
	switch {
	case l.breaker.open(), l.webhook.Status == Disabled, l.webhook.Strict:
		return 1
	case l.pace == paceSlow:
		return max(queueSlow, int(l.window.size), ahead)
	}
	return max(queueFirst, ahead)
}

// ahead returns how many deliveries the lane may hold and still fetch more.
func (l *lane) ahead() int { return min(l.bound(), max(fetchFirst, l.rate.in(lookAhead))) }

// quick says that the lane makes room within moments, so that waiting is
// cheaper than a release.
func (l *lane) quick() bool {
	return l.pace != paceSlow && !l.breaker.open() && l.rate.perSecond >= quickLane
}

// cap returns how many attempts may be in flight.
func (l *lane) cap() int {
	if l.breaker.open() || l.webhook.Strict {
		return 1
	}
	return max(1, min(l.webhook.MaxInFlight, int(l.window.size)))
}

// nextQueue returns the queue whose first delivery is next. First attempts go
// ahead of retries and replays, which still get every fourth start. The lane
// must not be empty.
func (l *lane) nextQueue() *queue[*Delivery] {
	if l.again.len() > 0 && (l.first.len() == 0 || (l.starts+1)%retryTurn == 0) {
		return &l.again
	}
	return &l.first
}

// queueOf returns the queue that a delivery waits in.
func (l *lane) queueOf(d *Delivery) *queue[*Delivery] {
	if d.Attempts > 0 || d.IsReplay {
		return &l.again
	}
	return &l.first
}

// learn adapts rate, window, pace and breaker to the end of an attempt.
func (l *lane) learn(d *Delivery, r Result, now time.Time) {
	l.rate.completed(now)
	switch r.Outcome {
	case Stopped:
		l.breaker.stopped()
		return
	case Delivered:
		l.breaker = breaker{}
		l.pace = paceFast
		if r.Latency > 0 {
			l.window.answered(r.Latency, l.inFlight, now)
		}
		if r.Duration >= slowAttempt {
			l.pace = paceSlow
			return
		}
		l.window.grow(l.webhook.MaxInFlight, now)
		return
	case TimedOut:
		l.pace = paceSlow
	case Failed, Overloaded:
	}
	if r.overload() {
		l.window.cut(d.started, now, l.inFlight)
	}
	if r.RetryAfter > 0 {
		l.rest(now.Add(r.RetryAfter))
	}
	if rest := l.breaker.failed(r.Outcome == TimedOut); rest > 0 {
		l.window.close()
		l.rest(now.Add(l.stagger(rest)))
	}
}

// enabled forgets what the lane learned before its webhook was disabled.
func (l *lane) enabled() {
	l.window = newWindow(firstWindow)
	l.breaker, l.restUntil = breaker{}, time.Time{}
}

// stagger takes up to a quarter off a rest, by the webhook's id: endpoints that
// failed together are not all probed at the same moment.
func (l *lane) stagger(rest time.Duration) time.Duration {
	id := l.webhook.ID
	return rest - rest/4*time.Duration(id[len(id)-1])/256
}

func (l *lane) rest(until time.Time) {
	if until.After(l.restUntil) {
		l.restUntil = until
	}
}

// heldBack says that no row of the lane may go now, whatever slots are free.
func (l *lane) heldBack(now time.Time) bool {
	return l.webhook.Status == Disabled || now.Before(l.restUntil) || l.webhook.Strict && l.fetch.state == fetchStalled
}
