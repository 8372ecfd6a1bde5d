package dispatch

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// crowdedWindow is what a lane begins with where its tenant has
	// crowdedSlow slow attempts in flight already. Its unproven lanes then
	// draw from the slow pool.
	crowdedWindow = 1
	crowdedSlow   = 32

	// Lanes of such a tenant that drain less than calmLane a second, or are
	// slow, start no more than rushStarts attempts a second and core together,
	// rushBurst of them at once; what waits is looked at again after rushPause.
	calmLane   = 10
	rushStarts = 2000
	rushBurst  = 4
	rushPause  = time.Millisecond
)

// crowded says that many of the tenant's attempts are slow. Its lanes that have
// not shown otherwise are then taken to be slow too, so that a tenant of
// thousands of hanging endpoints does not try them all on fast slots.
func (s *scheduler) crowded(t events.TenantID) bool {
	sh := s.slow.shares[t]
	return sh != nil && sh.inFlight >= crowdedSlow
}

// rushes says that the lane is one of many of its tenant that are slow, or may
// be: what they start comes to nothing for a while, and comes in crowds, as when
// an event is for all of them, or when hundreds of attempts give their fast slots
// back in the same moment.
func (s *scheduler) rushes(l *lane) bool {
	return (l.slow || l.drained < calmLane) && s.crowded(l.entry.TenantID)
}

// hold gives which tenants are to wait a moment, so that a crowd does not take
// the process, and the machine, from what others begin meanwhile; nil: none.
func (s *scheduler) hold(now time.Time) func(*share) bool {
	if s.rush.TokensAt(now) >= 1 {
		return nil
	}
	return func(sh *share) bool {
		if !s.rushes(sh.lanes[0]) {
			return false
		}
		if s.heldUntil.IsZero() {
			s.heldUntil = now.Add(rushPause)
			ring(s.rung)
		}
		return true
	}
}
