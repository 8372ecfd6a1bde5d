package scheduler

// Finish ends an attempt that Start asked for. Unless its outcome is [Stopped],
// the caller must record it and then call [Scheduler.Recorded].
func (s *Scheduler) Finish(now Now, d *Delivery, r Result) {
	l := d.lane
	s.releaseSlot(d)
	if l.tenure == tenureLost && l.inFlight == 0 {
		delete(s.lanes, l.webhook.ID)
	}
	if r.Outcome == Stopped {
		s.record(Release, d)
	}
	if r.Outcome == Delivered && r.Latency > 0 && l.window.base > 0 {
		s.fast.throttle.answered(r.Latency > l.window.allowed(), now.Time)
	}
	l.learn(d, r, now.Time)
	if l.breaker.open() {
		s.empty(l, Release)
		s.roomIn(l)
	}
	s.consider(l, now)
}

// Recorded says that the delivery's row was written and its lease given up. The
// scheduler forgets the delivery, or asks to release the lease that the row got
// meanwhile: nobody would use it. nextDue is when the row is due again (Unix
// microseconds of the database's clock), 0 where it is final. Deliveries that
// [Scheduler.Add] did not queue may be passed too.
func (s *Scheduler) Recorded(now Now, d *Delivery, nextDue int64) {
	if s.held[d.ID] == d { // and not a later lease of the same row
		if d.later > d.Lease {
			d.Lease, d.later = d.later, 0
			s.record(Release, d)
			return
		}
		delete(s.held, d.ID)
		s.budget.remove(d.Envelope)
		d.phase = phaseNew
	}
	l := d.lane
	if l == nil || l.tenure == tenureLost {
		if l = s.lanes[d.WebhookID]; l == nil || l.tenure == tenureLost {
			return
		}
	}
	if nextDue == 0 && l.webhook.Strict {
		nextDue = now.Latest // the next in line
	}
	if nextDue != 0 {
		s.due(l, nextDue, now)
	}
}

// Renewed answers Renew: lease is the new end of the lease, 0 where the row's
// lease was somebody else's. Such a delivery is forgotten.
func (s *Scheduler) Renewed(now Now, d *Delivery, lease int64) {
	if lease == 0 {
		s.Recorded(now, d, now.Latest)
		return
	}
	d.Lease = lease
	l := d.lane
	if l.tenure == tenureLost || s.mode >= modeStopping || l.webhook.Status == Disabled {
		s.record(Release, d)
		return
	}
	if l.webhook.Status == Deleted {
		s.record(EndDeleted, d)
		return
	}
	d.phase = phaseQueued
	s.queued++
	l.queueOf(d).pushFront(d)
	s.consider(l, now)
}
