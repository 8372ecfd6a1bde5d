package agentwebhook

import (
	"sync"
	"time"
)

const (
	// perAgent is how many attempts of one agent may be in flight once its
	// endpoint has taken one fast, and perUnproven how many until then: an
	// agent that nothing is known of may hang.
	perAgent    = 4
	perUnproven = 1
	// slowFor is how long an agent counts as slow after its last slow attempt,
	// unless it answers fast before.
	slowFor = 10 * time.Minute
	// maxQueued bounds the agents that are known to have something due. The
	// others are found again in the table.
	maxQueued = 4096
)

// slots says who may be sent something next: agents in turn, each within its
// bound, fast ones and slow ones out of pools of their own.
type slots struct {
	mu         sync.Mutex
	fast, slow lot
	agents     map[string]*agentState // those with attempts in flight, slow ones, and proven ones that wait
	queue      []string               // agents that may have something due, in turn
	queued     map[string]struct{}
	stuck      []*slot // slow attempts for which there was no slow slot
	wake       chan struct{}
}

type lot struct{ size, used int }

func (l *lot) free() int { return l.size - l.used }

type agentState struct {
	inFlight int // reserved ones included
	slowAt   time.Time
	proven   bool // its endpoint took the last one, and fast
	more     bool // the last claim took all that there was room for
}

func (a *agentState) isSlow(now time.Time) bool {
	return !a.slowAt.IsZero() && now.Sub(a.slowAt) < slowFor
}

// slot is the right to one attempt.
type slot struct {
	agent string
	lot   *lot
	done  bool
}

// want asks for deliveries of one agent; the slots for them are reserved.
type want struct {
	agent string
	slots []*slot
}

func newSlots(fast, slow int) *slots {
	return &slots{
		fast: lot{size: fast}, slow: lot{size: slow}, agents: map[string]*agentState{},
		queued: map[string]struct{}{}, wake: make(chan struct{}, 1),
	}
}

// push says that agents may have something due.
func (s *slots) push(agents ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range agents {
		s.enqueue(a)
	}
	s.ring()
}

func (s *slots) enqueue(agent string) {
	if _, there := s.queued[agent]; there || len(s.queue) >= maxQueued {
		return
	}
	s.queued[agent] = struct{}{}
	s.queue = append(s.queue, agent)
}

func (s *slots) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take gives at most n agents whose turn it is, with slots reserved. Those for
// whose kind there is no slot keep their place; those at their own bound are
// asked again when one of their attempts has ended.
func (s *slots) take(n int, now time.Time) []want {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wants []want
	var kept []string
	for i, agent := range s.queue {
		if len(wants) == n || s.fast.free() <= 0 && s.slow.free() <= 0 {
			kept = append(kept, s.queue[i:]...)
			break
		}
		a := s.agents[agent]
		if a == nil {
			a = &agentState{}
		}
		l, bound := &s.fast, perUnproven
		switch {
		case a.isSlow(now):
			l = &s.slow
		case a.proven:
			bound = perAgent
		}
		switch room := min(bound-a.inFlight, l.free()); {
		case a.inFlight >= bound:
			a.more = true
			delete(s.queued, agent)
		case room <= 0:
			kept = append(kept, agent)
		default:
			delete(s.queued, agent)
			w := want{agent: agent}
			for range room {
				w.slots = append(w.slots, &slot{agent: agent, lot: l})
			}
			s.agents[agent] = a
			l.used += room
			a.inFlight += room
			wants = append(wants, w)
		}
	}
	s.queue = kept
	return wants
}

// settle says how many deliveries a want got; the first slots are theirs, and
// the others are given back.
func (s *slots) settle(w want, got int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.agents[w.agent]; a != nil {
		a.more = got == len(w.slots)
	}
	for _, free := range w.slots[got:] {
		s.release(free)
	}
}

// slowDown makes the attempt's agent a slow one, and moves the attempt into the
// slow pool, as soon as there is room.
func (s *slots) slowDown(of *slot, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.done {
		return
	}
	if a := s.agents[of.agent]; a != nil {
		a.slowAt, a.proven = now, false
	}
	if of.lot == &s.fast {
		s.stuck = append(s.stuck, of)
		s.move()
	}
}

// move gives slow attempts that hold fast slots the slow ones that are free.
func (s *slots) move() {
	for len(s.stuck) > 0 && s.slow.free() > 0 {
		of := s.stuck[0]
		s.stuck = s.stuck[1:]
		if of.done {
			continue
		}
		s.fast.used--
		s.slow.used++
		of.lot = &s.slow
		s.ring()
	}
}

// end gives an attempt's slot back. quick says that the endpoint took the
// delivery, and fast.
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
	s.ring()
}

func (s *slots) release(of *slot) {
	of.done = true
	of.lot.used--
	s.move()
	a := s.agents[of.agent]
	a.inFlight--
	if _, waits := s.queued[of.agent]; a.inFlight == 0 && a.slowAt.IsZero() && !waits {
		delete(s.agents, of.agent)
	}
}

// forget drops what is known of agents that have not been slow for long.
func (s *slots) forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, a := range s.agents {
		if a.inFlight == 0 && !a.isSlow(now) {
			delete(s.agents, name)
		}
	}
}

// room says whether more agents may be looked for.
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
