package eventschema

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

const (
	// maxCached bounds the parts of all schemas that a [Checker] keeps compiled: some 50 MB.
	maxCached = 50_000
	// MaxWaiting bounds the heavy comparisons of a tenant that run or wait, where a [Checker] bounds them.
	MaxWaiting = 8
)

var (
	// ErrBusy means that a tenant has [MaxWaiting] heavy comparisons.
	ErrBusy = fmt.Errorf("%d events or samples of this tenant that take long to compare with their schemas are waiting, which is the limit", MaxWaiting)
	// ErrLater is the fault of an event that is to be compared another time: its list takes too long.
	ErrLater = errors.New("the comparison is put off")
)

// Checker compares events with the schemas of their types. It keeps compiled schemas by their hash, so that none of them
// is out of date. It is safe for concurrent use. Create one with [NewChecker].
//
// Comparisons that take long happen one at a time: one takes the memory of its errors, and leaves the other processors.
type Checker struct {
	turns   *semaphore.Weighted
	bounded bool

	mu      sync.Mutex
	known   map[eventtype.Hash]*Schema
	cached  int // parts
	waiting map[events.TenantID]int
}

// NewChecker returns a checker that knows no schema yet. If it is bounded, it returns [ErrBusy] to a tenant that has
// [MaxWaiting] comparisons waiting.
func NewChecker(bounded bool) *Checker {
	return &Checker{turns: semaphore.NewWeighted(1), bounded: bounded, known: map[eventtype.Hash]*Schema{}, waiting: map[events.TenantID]int{}}
}

// turn waits until no other heavy comparison runs.
func (c *Checker) turn(ctx context.Context, tenant events.TenantID) (release func(), err error) {
	c.mu.Lock()
	if c.bounded && c.waiting[tenant] >= MaxWaiting {
		c.mu.Unlock()
		return nil, ErrBusy
	}
	c.waiting[tenant]++
	c.mu.Unlock()
	gone := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.waiting[tenant]--; c.waiting[tenant] == 0 {
			delete(c.waiting, tenant)
		}
	}
	if err := c.turns.Acquire(ctx, 1); err != nil {
		gone()
		return nil, fmt.Errorf("wait to compare data with a schema: %w", err)
	}
	return func() { c.turns.Release(1); gone() }, nil
}

// share is what the heavy comparisons of one list may still take.
type share struct {
	left int
	used map[events.TenantID]int
}

// take says whether a tenant's comparison has its place. Each tenant has one of [MaxSteps], so that it delays others little.
func (s *share) take(tenant events.TenantID, steps int) bool {
	if steps > s.left || s.used[tenant]+steps > MaxSteps {
		return false
	}
	s.left -= steps
	s.used[tenant] += steps
	return true
}

// Check looks the own types of events up, and compares the events' data with their schemas. It holds no connection while
// it compares, so call it before the transaction. faults has an error for each event that is refused, else nil: it wraps
// an [*events.FieldError] of type or data, and an [*events.UnknownTypeError] if the tenant has no such type. It is
// [ErrLater] for an event whose turn does not come with this list; that of a list of one does. faults is nil, and nothing
// is looked up, if all types are of the catalogue. err is of the database, of ctx, or [ErrBusy].
func (c *Checker) Check(ctx context.Context, db pg.DB, list []events.Event) (faults []error, err error) {
	var keys []eventtype.Key
	for i := range list {
		if !list[i].Type.Known() {
			keys = append(keys, keyOf(&list[i]))
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	found, err := eventtype.LookUp(ctx, db, keys)
	if err != nil {
		return nil, err
	}
	faults = make([]error, len(list))
	room := &share{listSteps, map[events.TenantID]int{}}
	for i := range list {
		ev := &list[i]
		if ev.Type.Known() {
			continue
		}
		hash, exists := found[keyOf(ev)]
		switch {
		case !exists:
			faults[i] = (&events.UnknownTypeError{Type: ev.Type}).In("type")
		case hash != eventtype.Hash{}:
			if faults[i], err = c.fits(ctx, db, ev, hash, room); err != nil {
				return nil, err
			}
		}
	}
	return faults, nil
}

func keyOf(ev *events.Event) eventtype.Key {
	return eventtype.Key{TenantID: ev.TenantID, Name: ev.Type}
}

// fits compares the data of an event with the schema that has a hash.
func (c *Checker) fits(ctx context.Context, db pg.DB, ev *events.Event, hash eventtype.Hash, room *share) (fault, err error) {
	c.mu.Lock()
	s := c.known[hash]
	c.mu.Unlock()
	if s == nil {
		if s, fault, err = c.read(ctx, db, keyOf(ev)); s == nil {
			return fault, err
		}
	}
	v, err := decode(ev.Data)
	if err != nil {
		return notJSON("data"), nil
	}
	steps := s.steps(ev.Data, v)
	if waits(steps) {
		if !room.take(ev.TenantID, steps) {
			return ErrLater, nil
		}
		release, err := c.turn(ctx, ev.TenantID)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	return s.fit("data", "the schema of "+string(ev.Type), v, steps), nil
}

// read reads and compiles the present schema of a type, which may have changed since it was looked up; nil for none, and
// with a fault.
func (c *Checker) read(ctx context.Context, db pg.DB, k eventtype.Key) (s *Schema, fault, err error) {
	text, hash, err := eventtype.SchemaOf(ctx, db, k)
	switch {
	case errors.Is(err, eventtype.ErrNotFound):
		return nil, (&events.UnknownTypeError{Type: k.Name}).In("type"), nil
	case err != nil || text == nil:
		return nil, nil, err
	}
	if s, err = Compile(text); err != nil { // it was stored by another release
		return nil, &events.FieldError{Field: "type", Reason: fmt.Sprintf("is %q, whose schema this release can't read: %s", k.Name, err)}, nil
	}
	c.keep(hash, s)
	return s, nil, nil
}

// keep keeps a schema, and drops others where there is no room.
func (c *Checker) keep(hash eventtype.Hash, s *Schema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[hash] != nil {
		return
	}
	for h, old := range c.known { // any of them: a map's order is random
		if c.cached+s.parts <= maxCached {
			break
		}
		delete(c.known, h)
		c.cached -= old.parts
	}
	c.known[hash] = s
	c.cached += s.parts
}
