package scheduler

import "time"

// observedRate is a lane's completions per second, smoothed over about one
// second.
type observedRate struct {
	perSecond float64
	at        time.Time // of the last completion
}

// completed counts one completion.
func (o *observedRate) completed(now time.Time) {
	dt := now.Sub(o.at).Seconds()
	o.at = now
	if dt <= 0 {
		dt = 1e-6
	}
	if dt > 5 {
		o.perSecond = min(1/dt, o.perSecond)
		return
	}
	// The weight of a sample grows with the time that it stands for.
	o.perSecond += min(dt, 1) * (1/dt - o.perSecond)
}

// in returns how many completions to expect within d.
func (o *observedRate) in(d time.Duration) int { return int(o.perSecond * d.Seconds()) }
