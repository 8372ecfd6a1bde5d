package scheduler

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Due says that the webhook may have a row due at the given time (Unix
// microseconds of the database's clock).
func (s *Scheduler) Due(now Now, w *Webhook, at int64) {
	if s.owns(w.ID) && s.mode < modeStopping {
		s.due(s.laneOf(w, now), at, now)
	}
}

// Change takes over a webhook's new settings. Queued deliveries of a disabled
// webhook are released, those of a deleted one end.
func (s *Scheduler) Change(now Now, w *Webhook) {
	l := s.lanes[w.ID]
	if l == nil {
		if w.Status != Disabled {
			s.Due(now, w, now.Latest) // rows may have waited
		}
		return
	}
	was := l.webhook.Status
	l.webhook = *w
	l.limit()
	switch {
	case w.Status == Disabled:
		s.empty(l, Release)
		s.roomIn(l)
	case w.Status == Deleted:
		s.empty(l, EndDeleted)
		s.roomIn(l)
	case was != Active:
		l.enabled()
		if l.tenure == tenureOwned {
			s.due(l, now.Latest, now)
		}
	default:
		s.consider(l, now)
	}
}

// Own sets the owned partitions. Queued deliveries of the others are released;
// their attempts in flight go on, and count if the partition comes back first.
func (s *Scheduler) Own(owned [events.Partitions]bool) {
	s.owned = owned
	for id, l := range s.lanes {
		if !s.owns(id) {
			s.closeLane(l)
		} else {
			l.tenure = tenureOwned
		}
	}
}

// Lease sets until when the owned partitions are leased: no attempt starts and
// no row is fetched from then on. The zero time stops both at once.
func (s *Scheduler) Lease(until time.Time) { s.leaseUntil = until }

// Block says whether outcomes can't be written: no attempt starts while they
// can't.
func (s *Scheduler) Block(blocked bool) {
	switch {
	case s.mode >= modeStopping:
	case blocked:
		s.mode = modeBlocked
	default:
		s.mode = modeRunning
	}
}

// Stop ends queueing for good and releases all that is queued. [Idle] follows
// when no attempt is in flight.
func (s *Scheduler) Stop() {
	if s.mode >= modeStopping {
		return
	}
	s.mode = modeStopping
	for _, l := range s.lanes {
		s.empty(l, Release)
		s.roomIn(l)
	}
}
