package agentwebhook

import (
	"sync"
	"time"
)

const (
	// perAgent is how many attempts of one agent may be in flight in this process
	// after its endpoint has answered fast.
	perAgent = 4
	// perUnproven is the same until the endpoint has answered fast: an unknown
	// endpoint may hang.
	perUnproven = 1
	// slowFor is how long an agent counts as slow after its last slow attempt. A
	// fast answer ends it earlier.
	slowFor = 10 * time.Minute
	// maxQueued is the most agents that are queued. The search finds the others
	// later in the table.
	maxQueued = 4096
)

// slots decides which agents' deliveries are attempted next: agents take turns, each
// within its limit. Fast and slow agents draw from separate pools.
type slots struct {
	mu         sync.Mutex
	fast, slow slotPool
	agents     map[string]*agentState // agents with attempts in flight, slow agents, and queued proven ones
	queue      []string               // agents that may have due deliveries, in the order of their turns
	queued     map[string]struct{}
	stuck      []*slot // slow attempts in fast slots, which wait for a slow slot
	wake       chan struct{}
}

type slotPool struct{ size, used int }

func (p *slotPool) free() int { return p.size - p.used }

type agentState struct {
	inFlight int // includes reserved slots
	slowAt   time.Time
	proven   bool // the last attempt delivered, and fast
	more     bool // the last claim filled all its slots, so more may be due
}

func (a *agentState) isSlow(now time.Time) bool {
	return !a.slowAt.IsZero() && now.Sub(a.slowAt) < slowFor
}

// slot is the right to one attempt.
type slot struct {
	agent string
	pool  *slotPool
	done  bool
}

// request asks for deliveries of one agent, one for each slot. The slots are reserved.
type request struct {
	agent string
	slots []*slot
}

func newSlots(fast, slow int) *slots {
	return &slots{
		fast: slotPool{size: fast}, slow: slotPool{size: slow}, agents: map[string]*agentState{},
		queued: map[string]struct{}{}, wake: make(chan struct{}, 1),
	}
}

// push queues agents that may have due deliveries, and wakes the loop.
func (s *slots) push(agents ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range agents {
		s.enqueue(a)
	}
	s.signal()
}

func (s *slots) enqueue(agent string) {
	if _, there := s.queued[agent]; there || len(s.queue) >= maxQueued {
		return
	}
	s.queued[agent] = struct{}{}
	s.queue = append(s.queue, agent)
}

func (s *slots) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns requests for at most n agents whose turn it is. If an agent's pool has
// no free slot, the agent keeps its place. An agent at its own limit is queued again
// when one of its attempts ends.
func (s *slots) take(n int, now time.Time) []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var requests []request
	var kept []string
	for i, agent := range s.queue {
		if len(requests) == n || s.fast.free() <= 0 && s.slow.free() <= 0 {
			kept = append(kept, s.queue[i:]...)
			break
		}
		a := s.agents[agent]
		if a == nil {
			a = &agentState{}
		}
		pool, limit := &s.fast, perUnproven
		switch {
		case a.isSlow(now):
			pool = &s.slow
		case a.proven:
			limit = perAgent
		}
		switch room := min(limit-a.inFlight, pool.free()); {
		case a.inFlight >= limit:
			a.more = true
			delete(s.queued, agent)
		case room <= 0:
			kept = append(kept, agent)
		default:
			delete(s.queued, agent)
			r := request{agent: agent}
			for range room {
				r.slots = append(r.slots, &slot{agent: agent, pool: pool})
			}
			s.agents[agent] = a
			pool.used += room
			a.inFlight += room
			requests = append(requests, r)
		}
	}
	s.queue = kept
	return requests
}

// settle records how many deliveries a request got. They use its first slots; the
// other slots are released.
func (s *slots) settle(r request, got int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.agents[r.agent]; a != nil {
		a.more = got == len(r.slots)
	}
	for _, unused := range r.slots[got:] {
		s.release(unused)
	}
}

// slowDown marks the attempt's agent as slow. The attempt moves to the slow pool as
// soon as that has a free slot.
func (s *slots) slowDown(of *slot, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.done {
		return
	}
	if a := s.agents[of.agent]; a != nil {
		a.slowAt, a.proven = now, false
	}
	if of.pool == &s.fast {
		s.stuck = append(s.stuck, of)
		s.move()
	}
}

// move moves slow attempts from fast slots to free slow slots.
func (s *slots) move() {
	for len(s.stuck) > 0 && s.slow.free() > 0 {
		of := s.stuck[0]
		s.stuck = s.stuck[1:]
		if of.done {
			continue
		}
		s.fast.used--
		s.slow.used++
		of.pool = &s.slow
		s.signal()
	}
}

// end releases an attempt's slot. quick means that the attempt delivered, and fast.
func (s *slots) end(of *slot, quick bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.agents[of.agent]; a != nil {
		if a.proven = quick; quick {
			a.slowAt = time.Time{}
		}
		if a.more {
			s.enqueue(of.agent)
		}
	}
	s.release(of)
	s.signal()
}

func (s *slots) release(of *slot) {
	of.done = true
	of.pool.used--
	s.move()
	a := s.agents[of.agent]
	a.inFlight--
	if _, waits := s.queued[of.agent]; a.inFlight == 0 && a.slowAt.IsZero() && !waits {
		delete(s.agents, of.agent)
	}
}

// forget drops the states of agents that are idle and no longer slow.
func (s *slots) forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, a := range s.agents {
		if a.inFlight == 0 && !a.isSlow(now) {
			delete(s.agents, name)
		}
	}
}

// room reports whether the queue is less than half full, so that a search is useful.
func (s *slots) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) < maxQueued/2
}

func (s *slots) count() (fast, slow int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fast.used, s.slow.used
}
