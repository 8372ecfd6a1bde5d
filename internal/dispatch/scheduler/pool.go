package scheduler

import (
	"container/heap"

	"github.com/fanmail-dev/fanmail/events"
)

// pool is a number of slots for attempts, shared max-min fairly. A free slot
// goes to the tenant with the fewest attempts in flight among those with a lane
// that can start, and within the tenant to its lanes in turn. No tenant takes
// the last slots: it gets one only while it holds fewer than are free. Alone it
// gets half of the pool, and the next tenant finds the other half free.
type pool struct {
	free     int
	throttle throttle
	shares   map[events.TenantID]*share
	heap     shareHeap
	turns    uint64
	passed   []*share // those that next passes over; kept for its memory
}

// share is a tenant's part of a pool.
type share struct {
	inFlight int
	unproven int          // of those, in lanes that have not delivered yet
	lanes    queue[*lane] // those that can start, in turn
	served   uint64       // the pool's turns when it had its last one
	at       int          // index in the heap; -1: not in it
}

func newPool(slots int, t throttle) *pool {
	return &pool{free: slots, throttle: t, shares: make(map[events.TenantID]*share)}
}

func (p *pool) share(t events.TenantID) *share {
	s := p.shares[t]
	if s == nil {
		s = &share{at: -1}
		p.shares[t] = s
	}
	return s
}

// enlist appends a lane that can start to its tenant's turns.
func (p *pool) enlist(l *lane, s *share) {
	if l.turn == turnWaiting {
		return
	}
	l.turn = turnWaiting
	s.lanes.push(l)
	if s.at < 0 {
		heap.Push(&p.heap, s)
	}
}

// waiter says which tenants have to wait.
type waiter interface{ mustWait(s *share) bool }

// next removes the lane whose turn it is and returns it; nil where no lane can
// start or no slot may be given. It passes over the tenants that have to wait;
// they keep their turn.
func (p *pool) next(w waiter) *lane {
	for len(p.heap) > 0 && w.mustWait(p.heap[0]) {
		p.passed = append(p.passed, heap.Pop(&p.heap).(*share))
	}
	l := p.first()
	for i, s := range p.passed {
		heap.Push(&p.heap, s)
		p.passed[i] = nil
	}
	p.passed = p.passed[:0]
	return l
}

// first does the same for the tenant at the top of the heap.
func (p *pool) first() *lane {
	if len(p.heap) == 0 {
		return nil
	}
	s := p.heap[0]
	switch {
	case s.inFlight >= p.free:
		return nil // nor may any other tenant, which has as many or more
	case s.inFlight >= p.free-p.throttle.closed():
		p.throttle.reached = true
		return nil
	}
	l := s.lanes.pop()
	l.turn = turnNone
	p.turns++
	s.served = p.turns
	if s.lanes.len() == 0 {
		heap.Remove(&p.heap, s.at)
	} else {
		heap.Fix(&p.heap, s.at)
	}
	return l
}

// occupy counts a slot as the tenant's, release counts it as free. occupy may
// take more slots than there are: attempts that turn slow move whether or not
// the slow pool has room. No slow lane starts then until it has.
func (p *pool) occupy(s *share) { p.count(s, 1) }

func (p *pool) release(s *share) { p.count(s, -1) }

func (p *pool) count(s *share, n int) {
	p.free -= n
	s.inFlight += n
	if s.at >= 0 {
		heap.Fix(&p.heap, s.at)
	}
}

// prune forgets the tenants that have no attempt in flight and no lane that can
// start.
func (p *pool) prune() {
	for t, s := range p.shares {
		if s.at < 0 && s.inFlight == 0 {
			delete(p.shares, t)
		}
	}
}

// shareHeap orders shares by attempts in flight, then by their last turn.
type shareHeap []*share

func (h shareHeap) Len() int { return len(h) }

func (h shareHeap) Less(i, j int) bool {
	if h[i].inFlight != h[j].inFlight {
		return h[i].inFlight < h[j].inFlight
	}
	return h[i].served < h[j].served
}

func (h shareHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push and Pop are for container/heap.
func (h *shareHeap) Push(x any) {
	s := x.(*share)
	s.at = len(*h)
	*h = append(*h, s)
}

func (h *shareHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.at = -1
	return s
}
