package scheduler

import "time"

// start emits Start for all attempts that may begin. Fast lanes go first.
func (s *Scheduler) start(now Now) {
	if s.mode != modeRunning || !now.Time.Before(s.leaseUntil) {
		return
	}
	s.startedAt = now.Time
	for _, p := range [2]*pool{s.fast, s.slow} {
		for l := p.next(s); l != nil; l = p.next(s) {
			s.startNext(l, p, now)
		}
	}
}

// startNext starts the lane's next delivery if it may start still: the lane may
// have changed while it waited for its turn.
func (s *Scheduler) startNext(l *lane, p *pool, now Now) {
	sh := p.share(l.webhook.TenantID)
	if s.mayStart(l, p, now) {
		s.occupy(l.nextQueue().pop(), p, sh, now)
		if l.queued() <= l.bound()/2 {
			s.roomIn(l)
		}
	}
	s.consider(l, now)
}

// mayStart removes from the lane's queue what can't be sent as it is, and says
// whether the delivery that is then first may start.
func (s *Scheduler) mayStart(l *lane, p *pool, now Now) bool {
	if l.tenure == tenureLost || l.inFlight >= l.cap() || l.webhook.Status != Active || now.Time.Before(l.restUntil) ||
		p == s.fast && s.slowLane(l) {
		return false
	}
	for {
		if l.queued() == 0 {
			return false
		}
		q := l.nextQueue()
		switch d := q.peek(); {
		case time.Duration(d.Lease-now.Latest)*time.Microsecond < max(s.o.LeaseLeft, l.webhook.LeaseLeft):
			s.queued--
			s.record(Renew, q.pop())
			continue
		case d.Envelope == nil:
			s.queued--
			s.record(EndExpired, q.pop())
			continue
		}
		break
	}
	if l.limiter != nil && !l.limiter.AllowN(now.Time, 1) {
		l.rest(now.Time.Add(time.Duration(float64(time.Second) / float64(l.limiter.Limit()))))
		return false
	}
	return true
}

// occupy gives the delivery a slot of the pool.
func (s *Scheduler) occupy(d *Delivery, p *pool, sh *share, now Now) {
	l := d.lane
	if s.startsSlowly(l) {
		s.slowStart.started(now.Time)
	}
	p.occupy(sh)
	d.started, d.phase = now.Time, phaseSlow
	if p == s.fast {
		d.phase = phaseFast
		s.inFlight.push(d)
		if l.pace == paceUnproven {
			d.unproven = true
			sh.unproven++
		}
	}
	l.breaker.started()
	l.starts++
	l.inFlight++
	l.window.started(l.inFlight)
	l.usedAt = now.Time
	s.queued--
	s.flying++
	s.emit(Start, d)
}

// moveSlow moves the attempts that have become slow to slow slots.
func (s *Scheduler) moveSlow(now Now) {
	for d := s.inFlight.head; d != nil && now.Time.Sub(d.started) >= slowAttempt; d = s.inFlight.head {
		s.leaveFast(d)
		s.slow.occupy(s.slow.share(d.lane.webhook.TenantID))
		d.phase = phaseSlow
		d.lane.pace = paceSlow
	}
}
