package activity

import (
	"math"
	"time"
)

// Lags is a histogram of durations. Bucket i holds those of up to 2^i ms, the last one all others: over
// four minutes. The zero value is empty.
type Lags struct {
	Counts [20]uint32 `json:"counts"`
}

func (l *Lags) empty() bool { return *l == Lags{} }

func (l *Lags) observe(d time.Duration) {
	i := 0
	if ms := float64(d) / float64(time.Millisecond); ms > 1 {
		i = min(int(math.Ceil(math.Log2(ms))), len(l.Counts)-1)
	}
	l.Counts[i]++
}

// Add adds another histogram.
func (l *Lags) Add(m *Lags) {
	for i, n := range m.Counts {
		l.Counts[i] += n
	}
}

// Quantile returns the duration below which a part of them is, interpolated within its bucket; false
// if there are none.
func (l *Lags) Quantile(part float64) (d time.Duration, ok bool) {
	total := 0.0
	for _, n := range l.Counts {
		total += float64(n)
	}
	if total == 0 {
		return 0, false
	}
	wanted, below := part*total, 0.0
	for i, n := range l.Counts {
		if n > 0 && below+float64(n) >= wanted {
			low, high := 0.0, math.Exp2(float64(i))
			if i > 0 {
				low = high / 2
			}
			ms := low + (high-low)*(wanted-below)/float64(n)
			return time.Duration(ms * float64(time.Millisecond)), true
		}
		below += float64(n)
	}
	return 0, false // not reached: some bucket holds it
}
