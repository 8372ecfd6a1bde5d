package scheduler

import (
	"math"
	"time"
)

const (
	// Latencies are counted in buckets, bucketsPerOctave for each doubling from
	// leastLatency on. The last bucket takes all that is longer, from 16 s on.
	leastLatency     = 250 * time.Microsecond
	bucketsPerOctave = 4
	latencyBuckets   = 16*bucketsPerOctave + 1
	// mostSamples bounds the latencies that are counted at once.
	mostSamples = 128
)

// latencies is a histogram of at most mostSamples latencies, of a fixed size.
// Its median does not follow the few very slow answers that many endpoints give.
type latencies struct {
	counts [latencyBuckets]uint8
	n      int
}

// add counts one latency, unless there are mostSamples.
func (l *latencies) add(d time.Duration) {
	if l.n == mostSamples {
		return
	}
	i := 0
	if d > leastLatency {
		i = int(math.Log2(float64(d)/float64(leastLatency)) * bucketsPerOctave)
	}
	l.counts[min(i, latencyBuckets-1)]++
	l.n++
}

// median interpolates within the median's bucket. There must be a sample.
func (l *latencies) median() time.Duration {
	return time.Duration(float64(leastLatency) * math.Exp2(l.quantile(0.5)))
}

// deviation is the standard deviation, in octaves, of latencies whose logarithms are
// distributed normally with the same quartiles.
func (l *latencies) deviation() float64 {
	const quartiles = 1.349 // deviations between them
	return (l.quantile(0.75) - l.quantile(0.25)) / quartiles
}

// quantile returns the octaves above leastLatency below which the given part of the
// samples is. There must be a sample.
func (l *latencies) quantile(part float64) float64 {
	wanted, below := part*float64(l.n), 0.0
	for i, n := range l.counts {
		if count := float64(n); below+count >= wanted && n > 0 {
			return (float64(i) + (wanted-below)/count) / bucketsPerOctave
		}
		below += float64(n)
	}
	return 0 // not reached: some bucket holds it
}
