package scheduler

import "time"

const (
	// leastWake keeps the timer from firing again at once.
	leastWake = time.Millisecond
	// Lanes that have not been used for evictAfter are forgotten. They are
	// looked for every evictEvery.
	evictAfter = 10 * time.Minute
	evictEvery = time.Minute
)

// Advance says that time has passed. It starts what may start, fetches what is
// due, and emits Wake where it must be called again without another input. Call
// it after each input, or after a batch of them.
func (s *Scheduler) Advance(now Now) {
	if s.mode >= modeStopping {
		s.stopping()
		return
	}
	s.moveSlow(now)
	for l := s.timers.fired(now.Time); l != nil; l = s.timers.fired(now.Time) {
		s.consider(l, now)
	}
	s.slowStart.passed(now.Time)
	s.start(now)
	s.startFetch(now)
	if !now.Time.Before(s.evictAt) {
		s.evict(now)
	}
	s.wake(now)
}

func (s *Scheduler) stopping() {
	if s.mode == modeStopping && s.flying == 0 {
		s.mode = modeIdle
		s.emit(Idle, nil)
	}
}

// evict forgets the lanes and the tenants that are not used.
func (s *Scheduler) evict(now Now) {
	s.evictAt = now.Time.Add(evictEvery)
	for _, l := range s.lanes {
		if l.inFlight == 0 && l.queued() == 0 && l.fetch == (fetch{}) && l.turn == turnNone &&
			now.Time.Sub(l.usedAt) > evictAfter {
			s.closeLane(l)
		}
	}
	s.fast.prune()
	s.slow.prune()
}

// wake emits Wake where the next time to look is before the one asked for.
func (s *Scheduler) wake(now Now) {
	next := s.evictAt
	if at := s.slowStart.until; !at.IsZero() && at.Before(next) {
		next = at
	}
	if len(s.timers) > 0 && s.timers[0].timerAt.Before(next) {
		next = s.timers[0].timerAt
	}
	if d := s.inFlight.head; d != nil {
		if at := d.started.Add(slowAttempt); at.Before(next) {
			next = at
		}
	}
	if soonest := now.Time.Add(leastWake); next.Before(soonest) {
		next = soonest
	}
	if next.Before(s.wakeAt) || !now.Time.Before(s.wakeAt) {
		s.wakeAt = next
		s.out = append(s.out, Command{Kind: Wake, At: next})
	}
}
