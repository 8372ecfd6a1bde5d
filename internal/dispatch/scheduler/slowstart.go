package scheduler

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// crowdedSlow slow attempts in flight make a tenant crowded, and so do
	// crowdedUnproven attempts on fast slots of lanes that have not delivered.
	crowdedSlow     = 32
	crowdedUnproven = 256
	// Lanes of a crowded tenant that are slow, or complete less than
	// slowStartBelow attempts a second, start at most slowStartRate attempts
	// per second and core together, slowStartBurst per core at once. Those
	// that wait are considered again after slowStartPause.
	slowStartBelow = 10
	slowStartRate  = 2000
	slowStartBurst = 4
	slowStartPause = time.Millisecond
)

// slowStart paces the attempts of lanes that are probably slow. They come all
// at once: when an event is for thousands of endpoints that hang, or when
// hundreds of attempts return their slots in the same moment. They must not
// take the process from the attempts of others.
type slowStart struct {
	starts *rate.Limiter
	until  time.Time // when to look again; zero: nobody waits
}

func newSlowStart(cores int) slowStart {
	return slowStart{starts: rate.NewLimiter(rate.Limit(slowStartRate*cores), slowStartBurst*cores)}
}

// mustWait says that no such attempt may start now.
func (s *slowStart) mustWait(now time.Time) bool {
	if s.starts.TokensAt(now) >= 1 {
		return false
	}
	if s.until.IsZero() {
		s.until = now.Add(slowStartPause)
	}
	return true
}

// started counts such an attempt.
func (s *slowStart) started(now time.Time) { s.starts.AllowN(now, 1) }

// passed ends the wait where its time has come.
func (s *slowStart) passed(now time.Time) {
	if !now.Before(s.until) {
		s.until = time.Time{}
	}
}
