package scheduler

import "github.com/fanmail-dev/fanmail/events"

// consider lists the lane where it can start an attempt or fetch rows, and sets
// its timer where it can later.
func (s *Scheduler) consider(l *lane, now Now) {
	if l.tenure == tenureLost || s.mode >= modeStopping {
		return
	}
	s.considerFetch(l, now)
	if l.turn == turnWaiting || l.queued() == 0 || l.inFlight >= l.cap() || l.webhook.Status != Active {
		return
	}
	if now.Time.Before(l.restUntil) {
		s.timers.set(l, l.restUntil)
		return
	}
	p := s.fast
	if s.slowLane(l) {
		p = s.slow
	}
	p.enlist(l, p.share(l.webhook.TenantID))
}

// considerFetch lists the lane for a fetch where rows are due and it has room,
// and sets its timer for when they will be due.
func (s *Scheduler) considerFetch(l *lane, now Now) {
	if l.fetch.due == 0 || l.fetch.running() || l.webhook.Status == Disabled {
		return
	}
	if now.Time.Before(l.restUntil) && l.webhook.Status == Active {
		s.timers.set(l, l.restUntil)
		return
	}
	if l.queued() > l.ahead()/2 || (l.breaker.open() || l.webhook.Strict) && l.inFlight+l.queued() > 0 {
		return // considered again when it has completed some
	}
	if wait := now.until(l.fetch.due); wait > 0 {
		s.timers.set(l, now.Time.Add(wait))
		return
	}
	l.fetch.state = fetchWanted
	s.wanted.push(l)
}

// due notes that the table may have a row of the lane due at the given time.
func (s *Scheduler) due(l *lane, at int64, now Now) {
	if l.fetch.state == fetchActive {
		// The running fetch may not see that row.
		if l.fetch.hint == 0 || at < l.fetch.hint {
			l.fetch.hint = at
		}
		return
	}
	if l.fetch.due == 0 || at < l.fetch.due {
		l.fetch.due = at
	}
	s.consider(l, now)
}

// laneOf returns the webhook's lane and makes it where there is none.
func (s *Scheduler) laneOf(w *Webhook, now Now) *lane {
	l := s.lanes[w.ID]
	if l == nil {
		size := float64(firstWindow)
		if s.crowded(w.TenantID) {
			size = crowdedWindow
		}
		l = newLane(w, size, now.Time)
		s.lanes[w.ID] = l
	}
	return l
}

// closeLane releases what the lane has queued and forgets it, once its last
// attempt has ended.
func (s *Scheduler) closeLane(l *lane) {
	if l.tenure == tenureLost {
		return
	}
	s.empty(l, Release)
	l.tenure, l.fetch = tenureLost, fetch{}
	s.timers.remove(l)
	s.roomIn(l)
	if l.inFlight == 0 {
		delete(s.lanes, l.webhook.ID)
	}
}

// roomIn tells a caller that waits for the lane that it should try again.
func (s *Scheduler) roomIn(l *lane) {
	if l.room == roomAwaited {
		l.room = roomUnwanted
		s.emit(RoomAvailable, nil)
	}
}

func (s *Scheduler) owns(w events.WebhookID) bool { return s.owned[events.Partition(w)] }
