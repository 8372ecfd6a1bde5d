package scheduler

import (
	"math"
	"time"
)

const (
	// firstWindow is how many attempts a lane may have in flight at first.
	firstWindow = 4
	// crowdedWindow is the same for a lane of a tenant in slow start.
	crowdedWindow = 1
	// leastByLatency is the smallest window that latency alone leads to.
	leastByLatency = 2

	// A round is so many answers: as many as the window has attempts, within
	// these bounds. firstRound is the one that first measures the latency.
	firstRound = 8
	leastRound = 32

	// An endpoint keeps up while the median latency of a round is at most
	// slower times its base, or latencyNoise longer. Shorter queues, be they
	// the endpoint's or this process's own, are no reason to send less.
	slower       = 1.5
	latencyNoise = 10 * time.Millisecond
	// A median of few answers is above its base by chance, too: up to so many
	// standard deviations of the difference. With two, one endpoint in a hundred
	// whose latency is spread like that of the internet had too small a window.
	chance = 3
	// baseWeight is the part by which the base follows a lower median.
	baseWeight = 0.1

	// A base that is older than baseAge, and than baseAnswers times itself, is
	// measured anew, in one round with the window divided by probeDivisor, in
	// which no queue stands at the endpoint. That costs 2 % of the attempts.
	baseAge      = 20 * time.Second
	baseAnswers  = 200
	probeDivisor = 4
	leastProbe   = 16
	// unmoved: a window that was halved while the median fell to no less than
	// this part is not what makes the endpoint slow.
	unmoved = 0.75
	// mostShrink is the least part of the window that one round leaves.
	mostShrink = 0.25
	// cautious is how long after an overload the window grows by 1 a round.
	cautious = 10 * time.Second
)

// window bounds a lane's attempts in flight by what the endpoint has shown: it
// grows while the latency stays what it is without a queue, and shrinks when a
// queue builds up or the endpoint says that it is overloaded.
type window struct {
	size      float64
	threshold float64 // below it the window doubles each round
	cutAt     time.Time
	peak      int // the most attempts in flight in this round

	round  latencies
	skip   int           // answers to attempts that began before the window changed
	base   time.Duration // the median latency without a queue; 0: not measured yet
	baseAt time.Time     // when it was measured
	baseOf float64       // the answers that it rests on
	before float64       // the size before the base is measured anew; 0: it is not
	queues bool          // the last round was slower than the base allows

	// The size and the median latency when the window began to shrink, or was
	// half as large again; 0: it does not shrink.
	shrunkFrom float64
	slowFrom   time.Duration
}

// newWindow returns a window that doubles until a queue builds up.
func newWindow(size float64) window { return window{size: size, threshold: math.Inf(1)} }

// started notes the attempts in flight when one has begun.
func (w *window) started(inFlight int) { w.peak = max(w.peak, inFlight) }

// grow follows a success. Only a window of which half was used has shown that
// it can be larger.
func (w *window) grow(most int, now time.Time) {
	switch {
	case w.queues || w.before > 0 || 2*w.peak < int(w.size):
		return
	case w.size < w.threshold:
		w.size++
	case now.Sub(w.cutAt) < cautious:
		w.size += 1 / w.size
	default:
		w.size += 1 / math.Sqrt(w.size)
	}
	w.size = max(1, min(w.size, float64(most)))
}

// answered counts the latency of a success; inFlight are the attempts that are
// still in flight.
func (w *window) answered(latency time.Duration, inFlight int, now time.Time) {
	if w.skip > 0 {
		w.skip--
		return
	}
	w.round.add(latency)
	need := max(leastRound, min(int(w.size), mostSamples))
	switch {
	case w.base == 0:
		need = firstRound
	case w.before > 0:
		need = max(leastProbe, min(int(w.before), mostSamples))
	}
	if w.round.n >= need {
		w.ended(inFlight, now)
		w.round, w.peak = latencies{}, inFlight
	}
}

// ended follows a round.
func (w *window) ended(inFlight int, now time.Time) {
	median := w.round.median()
	used := 2*w.peak >= int(w.size)
	old := now.Sub(w.baseAt) > max(baseAge, baseAnswers*w.base)
	switch {
	case w.base == 0, w.before == 0 && !used && old:
		w.measured(median, now)
		return
	case w.before > 0:
		w.size = max(w.size, w.before)
		w.skip = int(w.size) // many attempts begin now: their fast answers come first
		w.measured(median, now)
		return
	case median < w.base:
		w.base -= time.Duration(baseWeight * float64(w.base-median))
		w.baseOf += baseWeight * float64(w.round.n)
	}
	allowed := max(w.allowed(), w.byChance())
	switch {
	case median <= allowed:
		w.queues, w.shrunkFrom = false, 0
		if old && w.size > leastByLatency {
			w.before = w.size
			w.size = max(1, w.size/probeDivisor)
			w.skip = inFlight
		}
	case !w.queues:
		// One round may be chance, and its attempts began while the window
		// grew. The next one has a window that does not.
		w.queues, w.skip = true, inFlight
	case used && w.size <= leastByLatency:
		w.slowByItself(median, now)
	case used:
		w.shrink(float64(allowed)/float64(median), median, inFlight, now)
	}
}

// allowed is the longest latency at which the endpoint keeps up.
func (w *window) allowed() time.Duration {
	return max(time.Duration(slower*float64(w.base)), w.base+latencyNoise)
}

// byChance is the longest median of the round that may be chance: medians of
// answers of one kind differ by 1.25 deviations, divided by the root of their number.
func (w *window) byChance() time.Duration {
	error := 1.25 * w.round.deviation() * math.Sqrt(1/float64(w.round.n)+1/w.baseOf)
	return time.Duration(float64(w.base) * math.Exp2(chance*error))
}

// slowByItself takes the latency of an endpoint that a smaller window did not make
// quicker.
func (w *window) slowByItself(median time.Duration, now time.Time) {
	w.threshold = math.Inf(1)
	w.measured(median, now)
}

// measured takes a new base.
func (w *window) measured(median time.Duration, now time.Time) {
	w.base, w.baseAt, w.baseOf, w.before = median, now, float64(w.round.n), 0
	w.queues, w.shrunkFrom = false, 0
}

// shrink follows a round that was too slow, of which the part given would have
// been allowed.
func (w *window) shrink(part float64, median time.Duration, inFlight int, now time.Time) {
	switch {
	case w.shrunkFrom == 0:
		w.shrunkFrom, w.slowFrom = w.size, median
	case w.size > w.shrunkFrom/2:
	case float64(median) > unmoved*float64(w.slowFrom):
		w.slowByItself(median, now)
		return
	default:
		w.shrunkFrom, w.slowFrom = w.size, median
	}
	w.size = min(w.size, max(leastByLatency, w.size*max(part, mostShrink)))
	w.threshold = min(w.threshold, w.size)
	w.skip = inFlight
}

// cut halves the window once a round: attempts that were in flight together
// fail together. started is when the failed attempt began.
func (w *window) cut(started, now time.Time, inFlight int) {
	if !started.After(w.cutAt) {
		return
	}
	w.size = max(1, w.size/2)
	w.threshold = w.size
	w.cutAt = now
	w.round, w.skip, w.before, w.shrunkFrom = latencies{}, inFlight, 0, 0
}

// close leaves one attempt at a time, and slow growth after it.
func (w *window) close() {
	w.size, w.threshold = 1, firstWindow
	w.round, w.skip, w.before, w.shrunkFrom = latencies{}, 0, 0, 0
}
