package scheduler

import "github.com/fanmail-dev/fanmail/events"

// crowded says that many of the tenant's attempts are slow, or may be. Its
// unproven lanes then draw from the slow pool, so that a tenant of thousands of
// endpoints that hang does not try them all on fast slots.
func (s *Scheduler) crowded(t events.TenantID) bool {
	slow, fast := s.slow.shares[t], s.fast.shares[t]
	return slow != nil && slow.inFlight >= crowdedSlow || fast != nil && fast.unproven >= crowdedUnproven
}

// slowLane says that the lane draws from the slow pool.
func (s *Scheduler) slowLane(l *lane) bool {
	return l.pace == paceSlow || l.breaker.open() || l.pace == paceUnproven && s.crowded(l.webhook.TenantID)
}

// startsSlowly says that the lane is subject to slow start: it is one of many
// of its tenant that are slow, or may be.
func (s *Scheduler) startsSlowly(l *lane) bool {
	return (l.pace == paceSlow || l.rate.perSecond < slowStartBelow) && s.crowded(l.webhook.TenantID)
}

// mustWait says that the tenant's next lane has to wait for slow start.
func (s *Scheduler) mustWait(sh *share) bool {
	return s.startsSlowly(sh.lanes.peek()) && s.slowStart.mustWait(s.startedAt)
}
