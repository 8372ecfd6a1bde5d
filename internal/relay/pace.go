package relay

import (
	"math"
	"time"
)

const (
	// pace is the least time from the start of one round to the next, unless the
	// round was full.
	pace = 4 * time.Millisecond
	// linger is the longest time from the start of one round to the next that the
	// rate of arrival alone causes. lingerOf is its part for each event a second:
	// below 250 events a second, pace is longer.
	linger   = 10 * time.Millisecond
	lingerOf = 16 * time.Microsecond
	// After a round of several events, the relay also waits as long as the round
	// took, up to maxGather.
	maxGather = 20 * time.Millisecond
	// rateTime is the time over which the rate of arrival is averaged.
	rateTime = 200 * time.Millisecond
)

// pacer spaces the rounds. Larger rounds cost Postgres, the broker and the
// dispatchers less for each event, so rounds are spaced by the rate of arrival: an
// event that comes alone does not wait, and no event waits longer than linger for
// the rate's sake.
type pacer struct {
	recent float64 // events, those of the past discounted exponentially
	at     time.Time
}

// pause returns how long to wait at now after a round of n events that began at
// began.
func (p *pacer) pause(n int, began, now time.Time) time.Duration {
	p.recent = p.rate(now)*rateTime.Seconds() + float64(n)
	p.at = now
	took := now.Sub(began)
	pause := p.spacing(now) - took
	if n > 1 {
		pause = max(pause, min(took, maxGather))
	}
	return max(pause, 0)
}

// rate returns the rate of arrival at now, in events a second.
func (p *pacer) rate(now time.Time) float64 {
	return p.recent * math.Exp(-float64(now.Sub(p.at))/float64(rateTime)) / rateTime.Seconds()
}

// spacing returns the time from the start of one round to the next that the rate of
// arrival asks for at now.
func (p *pacer) spacing(now time.Time) time.Duration {
	return max(pace, min(time.Duration(p.rate(now)*float64(lingerOf)), linger))
}
