package health

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// Status is how a component or a process stands.
type Status string

// The values of [Status].
const (
	// OK: it works.
	OK Status = "ok"
	// Degraded: it works, but an error needs attention, or another way is used.
	Degraded Status = "degraded"
	// Failing: its last try failed.
	Failing Status = "failing"
)

const (
	// noted is how long an error that ended no try makes a component degraded.
	noted = 30 * time.Second
	// untried is how long a failure counts that no further try has repeated.
	untried = 20 * time.Second
)

// Component is a part whose last success and last error are known. Create one with
// [Registry.Component]. It is safe for concurrent use.
type Component struct {
	name   string
	needed bool
	stale  time.Duration // a success that is older is a failure; zero: never

	mu      sync.Mutex
	began   time.Time // when it was created
	ok, bad time.Time // the last success and the last error
	err     error     // the last error; kept after a success
	failing bool
	since   time.Time // when the failures began
}

// Report records how a try ended; nil: it succeeded. It reports whether the failures
// begin or end with it.
func (c *Component) Report(err error) (changed bool) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	changed = c.failing == (err == nil)
	if err == nil {
		c.ok, c.failing, c.since = now, false, time.Time{}
		return changed
	}
	if changed {
		c.since = now
	}
	c.failing, c.err, c.bad = true, err, now
	return changed
}

// Failing reports whether the last try failed.
func (c *Component) Failing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failing
}

// Note records an error that another part met, and that ended no try of this one.
func (c *Component) Note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.bad = err, time.Now()
}

// Observe records how publishing to a stream stands.
func (c *Component) Observe(p stream.Publishing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing, c.since, c.ok = p.Err != nil, p.Since, p.LastSuccess
	if p.Err != nil {
		c.err, c.bad = p.Err, p.Last
	}
}

// State is how a component stands at some time.
type State struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Needed says that the process is not ready while the component fails.
	Needed bool `json:"needed"`
	// LastSuccess, LastError and Since are zero if there was none. Since is when the
	// failures began that last until now.
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastError   time.Time `json:"last_error,omitzero"`
	Since       time.Time `json:"since,omitzero"`
	// Error is the text of the last error on one line; "" if there was none.
	Error string `json:"error,omitempty"`
	// Code, Means, Permanent and Remedy are those of its [Fault]; zero if it is not known.
	Code      string `json:"code,omitempty"`
	Means     string `json:"means,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
}

// state returns how the component stands.
func (c *Component) state(now time.Time) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Name: c.name, Status: OK, Needed: c.needed, LastSuccess: c.ok, LastError: c.bad, Since: c.since}
	if c.err != nil {
		s.Error = strings.Join(strings.Fields(c.err.Error()), " ")
		if f, known := Explain(c.err); known {
			s.Code, s.Means, s.Permanent, s.Remedy = f.Code, f.Means, f.Permanent, f.Remedy
		}
	}
	latest := c.ok
	if latest.IsZero() {
		latest = c.began
	}
	switch {
	case c.stale > 0 && now.Sub(latest) > c.stale:
		s.Status, s.Since = Failing, latest
		if c.bad.After(latest) {
			break // it says why
		}
		s.Code, s.Means, s.Permanent, s.Remedy = "", "", false, ""
		s.Error = "no answer; the last success was " + now.Sub(latest).Round(time.Second).String() + " ago"
	case c.failing && now.Sub(c.bad) > untried:
		s.Status = Degraded
	case c.failing:
		s.Status = Failing
	case !c.bad.IsZero() && now.Sub(c.bad) < noted:
		s.Status = Degraded
		if s.Code == unreachable && c.ok.After(c.bad) {
			s.Remedy = "" // it is back, so "start it" would mislead
		}
	}
	return s
}

// Registry holds the components of a process. Create one with [NewRegistry].
type Registry struct {
	mu         sync.Mutex
	components []*Component
}

// NewRegistry returns a registry without components.
func NewRegistry() *Registry { return &Registry{} }

// Component adds a component. The process is not ready while a needed one fails.
// stale is the age at which a last success counts as a failure; zero: never.
func (r *Registry) Component(name string, needed bool, stale time.Duration) *Component {
	c := &Component{name: name, needed: needed, stale: stale, began: time.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.components = append(r.components, c)
	return c
}

// States returns how the components stand, in the order in which they were added.
func (r *Registry) States() []State {
	r.mu.Lock()
	components := slices.Clone(r.components)
	r.mu.Unlock()
	now := time.Now()
	states := make([]State, len(components))
	for i, c := range components {
		states[i] = c.state(now)
	}
	return states
}

// Overall returns how a process with these components stands: failing if a needed
// one fails, and degraded if any other is not ok.
func Overall(states []State) Status {
	status := OK
	for _, s := range states {
		switch {
		case s.Status == Failing && s.Needed:
			return Failing
		case s.Status != OK:
			status = Degraded
		}
	}
	return status
}

// Why says what is wrong with a component, on one line.
func (s *State) Why() string {
	if strings.HasPrefix(s.Error, s.Means) { // also without a meaning
		return s.Error
	}
	return s.Means + ": " + s.Error
}

// Line says on one line what is wrong with a component and what to do.
func (s *State) Line(now time.Time) string {
	line := s.Name + ": " + s.Why()
	if !s.Since.IsZero() {
		line += " (for " + now.Sub(s.Since).Round(time.Second).String() + ")"
	}
	if s.Remedy != "" {
		line += "; to do: " + s.Remedy
	}
	return line
}
