package dispatch

import (
	"container/heap"
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// scheduler holds the lanes and decides which delivery is next. It starts
// nothing by itself: the dispatcher calls next while it gives something.
//
// Slots come in two pools. A lane that answers fast draws from the fast pool;
// one whose attempts take longer than slowAttempt draws from the slow pool,
// and an attempt that turns out slow moves over while it runs. So an endpoint
// that hangs keeps a fast slot for a second at most.
type scheduler struct {
	mu         sync.Mutex
	fast, slow *pool
	lanes      map[events.WebhookID]*lane
	held       map[events.DeliveryID]*delivery
	owned      [events.Partitions]bool
	stock      stock
	flight     flight
	alarms     laneHeap
	pulls      map[*lane]struct{}
	paused     bool
	stopped    bool

	clock *clock
	// rung is sent to when the earliest alarm or the set of pulls changes.
	rung chan struct{}
	// roomy is closed and made anew when lanes have drained.
	roomy chan struct{}
	quiet chan struct{}

	// rush bounds how many attempts crowds start.
	rush      *rate.Limiter
	heldUntil time.Time // zero: no tenant waits for rush

	queued, inFlight, breakers int
}

func newScheduler(fastSlots, slowSlots int, c *clock) *scheduler {
	cores := runtime.GOMAXPROCS(0)
	return &scheduler{
		rush: rate.NewLimiter(rate.Limit(rushStarts*cores), rushBurst*cores),
		fast: newPool(fastSlots), slow: newPool(slowSlots), clock: c,
		lanes: make(map[events.WebhookID]*lane),
		held:  make(map[events.DeliveryID]*delivery),
		stock: stock{shared: make(map[*byte]int)},
		pulls: make(map[*lane]struct{}),
		rung:  make(chan struct{}, 1), roomy: make(chan struct{}),
	}
}

// verdict is what add made of a delivery.
type verdict int

const (
	queued    verdict = iota
	duplicate         // it is held already; drop it
	full              // the lane has no room; park it
	busy              // the lane has no room but drains fast; wait for roomy, then try again
	foreign           // its partition is not owned, or not any more; the owner must get it
)

// add puts a leased delivery into its webhook's lane.
func (s *scheduler) add(d *delivery, e *subscribers.Entry) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.held[d.ID]; h != nil {
		if !h.claimed && d.Lease > h.Lease {
			h.Lease = d.Lease // the sweep has leased what was waiting here
		}
		return duplicate
	}
	if s.stopped || !s.owned[events.Partition(d.WebhookID)] {
		return foreign
	}
	l := s.lane(d.WebhookID, e)
	if !e.Enabled && !e.Deleted {
		return full
	}
	if l.fast() && l.queued() >= l.bound() {
		return busy
	}
	if s.noRoom(l) {
		s.due(l, s.clock.latest())
		return full
	}
	d.lane = l
	s.held[d.ID] = d
	s.stock.add(d.Envelope)
	l.push(d)
	s.queued++
	s.consider(l, time.Now())
	return queued
}

// noRoom says that the lane can take no delivery more.
func (s *scheduler) noRoom(l *lane) bool {
	return l.queued() >= l.bound() || l.queued() > 0 && s.stock.bytes > stockBytes
}

// full says that a delivery for the webhook would only be parked.
func (s *scheduler) full(id events.WebhookID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[id]
	if l == nil || l.gone || s.stopped || l.entry.Deleted {
		return false
	}
	return !l.entry.Enabled || s.noRoom(l) && !l.fast()
}

// lane finds or makes a webhook's lane.
func (s *scheduler) lane(id events.WebhookID, e *subscribers.Entry) *lane {
	l := s.lanes[id]
	if l == nil {
		now := time.Now()
		l = &lane{id: id, entry: e, window: firstWindow, threshold: subscribers.MaxMaxInFlight, alarmAt: -1, usedAt: now, drainedAt: now}
		if s.crowded(e.TenantID) {
			l.window = crowdedWindow
		}
		s.lanes[id] = l
		s.limit(l)
	}
	if l.gone { // its partition came back before its last attempts had ended
		l.gone, l.entry = false, e
		if l.open {
			s.breakers++
		}
		s.limit(l)
	}
	return l
}

// isSlow says that a lane is to draw from the slow pool.
func (s *scheduler) isSlow(l *lane) bool {
	return l.slow || l.open || !l.proven && s.crowded(l.entry.TenantID)
}

func (s *scheduler) limit(l *lane) {
	if l.entry.RateLimit == 0 {
		l.limiter = nil
	} else if l.limiter == nil || l.limiter.Limit() != rate.Limit(l.entry.RateLimit) {
		l.limiter = rate.NewLimiter(rate.Limit(l.entry.RateLimit), max(1, l.entry.RateLimit/10))
	}
}

// consider enlists the lane where it can start an attempt, and sets its alarm
// where it can later.
func (s *scheduler) consider(l *lane, now time.Time) {
	if l.gone || s.stopped {
		return
	}
	s.wantPull(l, now)
	if l.ready || l.queued() == 0 || l.inFlight >= l.cap() || l.entry == nil || !l.entry.Enabled || l.entry.Deleted {
		return
	}
	if now.Before(l.restUntil) {
		s.setAlarm(l, l.restUntil)
		return
	}
	p := s.fast
	if s.isSlow(l) {
		p = s.slow
	}
	p.enlist(l, p.share(l.entry.TenantID))
}

// wantPull marks the lane for the sweep where rows are due and it has room, or
// sets its alarm for when they will be.
func (s *scheduler) wantPull(l *lane, now time.Time) {
	if l.nextDue == 0 || l.pulling || l.entry == nil || !l.entry.Enabled && !l.entry.Deleted {
		return
	}
	if now.Before(l.restUntil) && !l.entry.Deleted {
		s.setAlarm(l, l.restUntil)
		return
	}
	if l.queued() > l.ahead()/2 || (l.open || l.entry.Strict) && l.inFlight+l.queued() > 0 {
		return // looked at again as it drains
	}
	if wait := s.clock.until(l.nextDue); wait > 0 {
		s.setAlarm(l, now.Add(wait))
		return
	}
	// It rings each time: the sweep leaves the set as it is where it hears of
	// it while the owner's lease has run out.
	s.pulls[l] = struct{}{}
	ring(s.rung)
}

// next gives a delivery whose attempt is to start now, its slot taken; nil
// where nothing can start.
func (s *scheduler) next() *delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused || s.stopped {
		return nil
	}
	now := time.Now()
	hold := s.hold(now)
	for _, p := range [2]*pool{s.fast, s.slow} {
		for l := p.next(hold); l != nil; l = p.next(hold) {
			if l.gone || l.queued() == 0 || l.inFlight >= l.cap() || !l.entry.Enabled || now.Before(l.restUntil) ||
				p == s.fast && s.isSlow(l) { // it has become so while it waited
				s.consider(l, now)
				continue
			}
			if l.limiter != nil && !l.limiter.AllowN(now, 1) {
				l.rest(now.Add(time.Duration(float64(time.Second) / float64(l.limiter.Limit()))))
				s.consider(l, now)
				continue
			}
			return s.start(l, p, now)
		}
	}
	return nil
}

func (s *scheduler) start(l *lane, p *pool, now time.Time) *delivery {
	if s.rushes(l) {
		s.rush.AllowN(now, 1)
	}
	d := l.take()
	sh := p.share(l.entry.TenantID)
	p.occupy(sh)
	d.pool, d.started, d.claimed, d.entry, d.probe = p, now, true, l.entry, l.open
	l.inFlight++
	l.usedAt = now
	s.queued--
	s.inFlight++
	if p == s.fast {
		s.flight.push(d)
	}
	s.consider(l, now)
	if l.queued() == l.bound()/2 {
		close(s.roomy)
		s.roomy = make(chan struct{})
	}
	return d
}

// unstart takes a started delivery off the wire, its attempt not made, while
// its lease is renewed or its row parked.
func (s *scheduler) unstart(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(d)
	s.consider(d.lane, time.Now())
}

// requeue puts an unstarted delivery back at the front of its lane; false
// where the lane is no longer this process's, and the row is to be parked.
func (s *scheduler) requeue(d *delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := d.lane
	if l.gone || s.stopped || !l.entry.Enabled {
		return false
	}
	d.claimed = false
	s.queued++
	f := l.queueOf(d)
	f.items = append([]*delivery{d}, f.items[f.head:]...)
	f.head = 0
	s.consider(l, time.Now())
	return true
}

// finish frees the attempt's slot and teaches the lane. It gives the queued
// deliveries that are to be parked where the lane's breaker has opened.
func (s *scheduler) finish(d *delivery, r *attempt.Result) (park []*delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.leave(d)
	l := d.lane
	wasOpen := l.open
	l.learn(r, d, now)
	if l.open != wasOpen && !l.gone {
		if l.open {
			s.breakers++
		} else {
			s.breakers--
		}
	}
	if l.open && l.queued() > 0 {
		park = s.drain(l)
	}
	s.consider(l, now)
	return park
}

func (s *scheduler) leave(d *delivery) {
	d.pool.release(d.pool.share(d.entry.TenantID))
	s.flight.remove(d)
	d.lane.inFlight--
	s.inFlight--
	if d.lane.gone && d.lane.inFlight == 0 {
		delete(s.lanes, d.lane.id)
	}
	if s.stopped && s.inFlight == 0 {
		close(s.quiet)
	}
}

// drain empties the lane's queue into the caller's hands. The rows stay held
// until they are parked.
func (s *scheduler) drain(l *lane) []*delivery {
	out := append(l.first.clear(), l.again.clear()...)
	s.queued -= len(out)
	for _, d := range out {
		d.claimed = true // no longer the queue's: only the ledger lets go
	}
	return out
}

// forget lets go of a delivery whose row was written. nextDue is when the row
// is due again (Unix microseconds; 0: never).
func (s *scheduler) forget(d *delivery, nextDue int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[d.ID] == d { // and not a later lease of the same row
		delete(s.held, d.ID)
		s.stock.remove(d.Envelope)
	}
	if l := d.lane; l != nil && !l.gone {
		if nextDue == 0 && l.entry.Strict {
			nextDue = s.clock.latest() // the next in line
		}
		if nextDue != 0 {
			s.due(l, nextDue)
		}
	}
}

func (s *scheduler) due(l *lane, at int64) {
	if l.nextDue == 0 || at < l.nextDue {
		l.nextDue = at
	}
	s.consider(l, time.Now())
}

// hint says that the webhook may have a row due at the given time.
func (s *scheduler) hint(id events.WebhookID, e *subscribers.Entry, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owned[events.Partition(id)] && !s.stopped {
		s.due(s.lane(id, e), at)
	}
}

// changed takes in a webhook's new settings. It gives the queued deliveries
// that are to be parked (disabled) or ended (deleted).
func (s *scheduler) changed(e *subscribers.Entry) []*delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[e.ID]
	if l == nil {
		if s.owned[events.Partition(e.ID)] && e.Enabled && !s.stopped {
			s.due(s.lane(e.ID, e), s.clock.latest()) // it may have rows that waited
		}
		return nil
	}
	was := l.entry
	l.entry = e
	s.limit(l)
	if !e.Enabled || e.Deleted {
		return s.drain(l)
	}
	if was == nil || !was.Enabled {
		l.window, l.threshold = firstWindow, subscribers.MaxMaxInFlight
		l.failures, l.timeouts, l.probe, l.restUntil = 0, 0, 0, time.Time{}
		if l.open {
			l.open = false
			s.breakers--
		}
		s.due(l, s.clock.latest())
	}
	s.consider(l, time.Now())
	return nil
}

// own sets the owned partitions. It gives the queued deliveries of lanes whose
// partition went to somebody else.
func (s *scheduler) own(owned [events.Partitions]bool) (park []*delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned = owned
	for id, l := range s.lanes {
		if !owned[events.Partition(id)] {
			park = append(park, s.drop(l)...)
		}
	}
	return park
}

// drop lets go of a lane and gives its queue. While attempts of it are on the
// wire it is remembered, so that they count if the partition comes back.
func (s *scheduler) drop(l *lane) []*delivery {
	if l.gone {
		return nil
	}
	out := s.drain(l)
	l.gone, l.nextDue, l.pulling = true, 0, false
	if l.open {
		s.breakers--
	}
	if l.inFlight == 0 {
		delete(s.lanes, l.id)
	}
	delete(s.pulls, l)
	if l.alarmAt >= 0 {
		heap.Remove(&s.alarms, l.alarmAt)
	}
	return out
}

// partitions gives the owned partitions.
func (s *scheduler) partitions() [events.Partitions]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owned
}

// holds says whether a delivery is in this process's hands.
func (s *scheduler) holds(id events.DeliveryID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[id] != nil
}

// busyIn counts the attempts in flight of a partition.
func (s *scheduler) busyIn(p int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, d := range s.held {
		if d.claimed && events.Partition(d.WebhookID) == p {
			n++
		}
	}
	return n
}

// pause stops attempts from starting, while the ledger can't be written.
func (s *scheduler) pause(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = on
}

// stop ends queueing for good and gives all that is queued, and a channel that
// is closed when no attempt is in flight.
func (s *scheduler) stop() ([]*delivery, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	close(s.roomy)
	s.roomy = make(chan struct{})
	var out []*delivery
	for _, l := range s.lanes {
		out = append(out, s.drain(l)...)
	}
	s.quiet = make(chan struct{})
	if s.inFlight == 0 {
		close(s.quiet)
	}
	return out, s.quiet
}

// room is closed when some lane has drained to half.
func (s *scheduler) room() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomy
}
