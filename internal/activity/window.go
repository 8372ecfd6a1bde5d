package activity

import "time"

// Count is what was counted within some time.
type Count struct {
	Events   uint64 `json:"events,omitempty"`   // fanned out
	Attempts uint64 `json:"attempts,omitempty"` // POSTs that ended
	Failures uint64 `json:"failures,omitempty"` // of them, without a 2xx
	// Unanswered counts those of the failures that got no answer.
	Unanswered uint64 `json:"unanswered,omitempty"`
	Bytes      uint64 `json:"bytes,omitempty"` // of the events' envelopes, or of the bodies that were POSTed
}

func (c *Count) add(d Count) {
	c.Events += d.Events
	c.Attempts += d.Attempts
	c.Failures += d.Failures
	c.Unanswered += d.Unanswered
	c.Bytes += d.Bytes
}

// Rates are a second.
type Rates struct {
	Events   float64 `json:"events"`
	Attempts float64 `json:"attempts"`
	Failures float64 `json:"failures"`
	Bytes    float64 `json:"bytes"`
}

func (r *Rates) add(d Rates) {
	r.Events += d.Events
	r.Attempts += d.Attempts
	r.Failures += d.Failures
	r.Bytes += d.Bytes
}

// sliding estimates the count of the last period from the present period of the clock and the
// one before. It is exact if the rate was steady in the one before.
type sliding struct {
	period        int64 // number of the present period since 1970
	current, past Count
}

// roll moves to the period of a time.
func (s *sliding) roll(now time.Time, length time.Duration) {
	switch period := now.UnixNano() / int64(length); {
	case period <= s.period:
	case period == s.period+1:
		s.period, s.past, s.current = period, s.current, Count{}
	default:
		*s = sliding{period: period}
	}
}

func (s *sliding) count(now time.Time, length time.Duration, c Count) {
	s.roll(now, length)
	s.current.add(c)
}

// rates returns the mean rates of the last period.
func (s *sliding) rates(now time.Time, length time.Duration) Rates {
	s.roll(now, length)
	left := 1 - float64(now.UnixNano()%int64(length))/float64(length) // of the period before
	seconds := length.Seconds()
	mean := func(current, past uint64) float64 { return (float64(current) + left*float64(past)) / seconds }
	return Rates{
		Events: mean(s.current.Events, s.past.Events), Attempts: mean(s.current.Attempts, s.past.Attempts),
		Failures: mean(s.current.Failures, s.past.Failures), Bytes: mean(s.current.Bytes, s.past.Bytes),
	}
}
