package receiver

import (
	"context"
	"sync"
)

// State is what a [Seen] knows of an event.
type State int

// The states of an event.
const (
	// Fresh: the event is not known. The caller handles it and then calls End.
	Fresh State = iota
	// Busy: another request with the event is being handled. It gets a 409, so that
	// Fanmail tries again if the other one fails.
	Busy
	// Done: the event was handled. It gets a 204.
	Done
)

// Seen remembers by id which events were handled, because Fanmail sends each at least
// once. Its methods are called concurrently.
//
// A replay sends events again under their ids. If it is to have an effect, forget them
// before.
type Seen interface {
	// Begin returns what is known of the event, and marks one that is Fresh as Busy.
	// A store that outlives the process lets the mark expire, after a minute say: the
	// process may die before it calls End. An error is answered with 500.
	Begin(ctx context.Context, id string) (State, error)
	// End marks a Busy event as Done if it was handled, and forgets it if not.
	End(ctx context.Context, id string, handled bool) error
}

// DefaultMemory is how many handled events a [Memory] remembers if [NewMemory] is given
// no number.
const DefaultMemory = 10_000

// Memory is a [Seen] for one process. It remembers the newest events that were handled.
// Make one with [NewMemory].
type Memory struct {
	mu     sync.Mutex
	states map[string]State
	done   []string // a ring of ids
	next   int      // the place in the ring of the oldest id, once it is full
	size   int
}

// NewMemory returns a memory of so many handled events. Below one means [DefaultMemory].
func NewMemory(events int) *Memory {
	if events < 1 {
		events = DefaultMemory
	}
	return &Memory{states: map[string]State{}, size: events}
}

// Begin implements [Seen]. It returns no error.
func (m *Memory) Begin(_ context.Context, id string) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.states[id]
	if state == Fresh {
		m.states[id] = Busy
	}
	return state, nil
}

// End implements [Seen]. It returns no error.
func (m *Memory) End(_ context.Context, id string, handled bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.states[id] != Busy:
		return nil
	case !handled:
		delete(m.states, id)
		return nil
	case len(m.done) < m.size:
		m.done = append(m.done, id)
	default:
		delete(m.states, m.done[m.next])
		m.done[m.next] = id
		m.next = (m.next + 1) % m.size
	}
	m.states[id] = Done
	return nil
}

// Forget forgets events, so that a replay of them is handled. Unknown ids are ignored.
func (m *Memory) Forget(ids ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if m.states[id] == Done {
			delete(m.states, id)
		}
	}
}
