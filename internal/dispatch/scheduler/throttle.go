package scheduler

import "time"

const (
	// leastPerCore attempts on fast slots may be in flight for each core, whatever
	// the answers say.
	leastPerCore = 256
	// A round with at least this part of its answers out of queues lowers the
	// limit by a fifth.
	manyQueued = 0.7
	// One with at most this part doubles it, if it held an attempt back. Endpoints
	// without a queue whose latency is spread like that of the internet have a
	// third of their answers later than their window allows.
	fewQueued = 0.5
	// A higher limit stays if it brought at least this part of the answers a second
	// that it made room for. Otherwise the next trial comes after trialPause.
	paid       = 0.2
	trialPause = time.Second
)

// throttle bounds the attempts on fast slots of all lanes together by their answers.
// A window follows a hundred answers of one endpoint. Where a hundred endpoints get
// an event at once, a queue stands before all of them, or in this process, long
// before their windows know it. More attempts in flight bring nothing then, and each
// new connection costs more than waiting for one of those there are.
type throttle struct {
	least, most int
	limit       int

	// The round: its start, whether the limit held an attempt back, and its
	// answers, of which some came out of queues. It has as many as the limit.
	began     time.Time
	reached   bool
	queued, n int

	// The trial of a higher limit: the limit before it, 0 for none, and the answers
	// a second. Its first round has answers to attempts from before it.
	before   int
	rate     float64
	settling bool
	next     time.Time // no trial begins before
}

func newThrottle(cores, slots int) throttle {
	least := min(leastPerCore*cores, slots)
	return throttle{least: least, most: slots, limit: least}
}

// closed returns how many slots may not be used now.
func (t *throttle) closed() int { return t.most - t.limit }

// answered follows an answer; queued says that it was later than the window of its
// lane allows.
func (t *throttle) answered(queued bool, now time.Time) {
	if t.n == 0 {
		t.began = now
	}
	t.n++
	if queued {
		t.queued++
	}
	if t.n > t.limit {
		t.ended(float64(t.n-1)/now.Sub(t.began).Seconds(), float64(t.queued)/float64(t.n), now)
		t.reached, t.queued, t.n = false, 0, 0
	}
}

// ended follows a round with so many answers a second.
func (t *throttle) ended(rate, queued float64, now time.Time) {
	switch {
	case t.settling:
		t.settling = false
	case t.before > 0:
		room := float64(t.limit)/float64(t.before) - 1
		if rate < t.rate*(1+paid*room) {
			t.limit, t.next = t.before, now.Add(trialPause)
		}
		t.before = 0
	case queued >= manyQueued:
		t.limit = max(t.least, t.limit*4/5)
	case queued <= fewQueued && t.reached && t.limit < t.most && !now.Before(t.next):
		t.before, t.rate, t.settling = t.limit, rate, true
		t.limit = min(t.most, 2*t.limit)
	}
}
