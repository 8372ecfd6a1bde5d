package dispatch

import (
	"container/heap"

	"github.com/fanmail-dev/fanmail/events"
)

// pool is a number of slots for attempts, shared max–min fairly: a free slot
// goes to the tenant with the fewest in flight among those that have a lane
// ready, and within the tenant to its lanes in turn. No tenant takes the last
// slots: it gets one only while it holds fewer than are free. Alone it comes to
// half of the pool, and the next tenant finds the other half free.
type pool struct {
	free   int
	shares map[events.TenantID]*share
	heap   shareHeap
	turn   uint64
}

// share is a tenant's part of a pool.
type share struct {
	tenant   events.TenantID
	inFlight int
	lanes    []*lane // those ready, in turn
	served   uint64  // when it had its last turn
	at       int     // index in the heap; -1: not in it
}

func newPool(slots int) *pool {
	return &pool{free: slots, shares: make(map[events.TenantID]*share)}
}

func (p *pool) share(t events.TenantID) *share {
	s := p.shares[t]
	if s == nil {
		s = &share{tenant: t, at: -1}
		p.shares[t] = s
	}
	return s
}

// enlist puts a lane that can start an attempt into its tenant's turn.
func (p *pool) enlist(l *lane, s *share) {
	if l.ready {
		return
	}
	l.ready = true
	s.lanes = append(s.lanes, l)
	if s.at < 0 {
		heap.Push(&p.heap, s)
	}
}

// next takes the lane whose turn it is out of the ring; nil where no lane is
// ready or no slot may be given. Tenants for which hold, which may be nil, says
// so are passed over and keep their turn.
func (p *pool) next(hold func(*share) bool) *lane {
	var held []*share
	defer func() {
		for _, s := range held {
			heap.Push(&p.heap, s)
		}
	}()
	for hold != nil && len(p.heap) > 0 && hold(p.heap[0]) {
		held = append(held, heap.Pop(&p.heap).(*share))
	}
	if len(p.heap) == 0 {
		return nil
	}
	s := p.heap[0]
	if s.inFlight >= p.free {
		return nil // and so it is for all others, which hold as many or more
	}
	l := s.lanes[0]
	s.lanes[0] = nil
	s.lanes = s.lanes[1:]
	l.ready = false
	p.turn++
	s.served = p.turn
	if len(s.lanes) == 0 {
		s.lanes = nil
		heap.Remove(&p.heap, s.at)
	} else {
		heap.Fix(&p.heap, s.at)
	}
	return l
}

// occupy and release count a slot of the tenant. Occupying may overdraw the
// pool: attempts that turn slow move over whether or not there is room, and
// then no slow lane starts until there is.
func (p *pool) occupy(s *share) { p.count(s, 1) }

func (p *pool) release(s *share) { p.count(s, -1) }

func (p *pool) count(s *share, n int) {
	p.free -= n
	s.inFlight += n
	if s.at >= 0 {
		heap.Fix(&p.heap, s.at)
	} else if s.inFlight == 0 {
		delete(p.shares, s.tenant)
	}
}

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
