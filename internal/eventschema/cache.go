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
	// large is how many steps of [MaxSteps] a comparison takes that waits for its turn: one such at a time takes what
	// memory its errors need.
	large = MaxSteps / 10
)

// Checker compares events with the schemas of their types. It keeps compiled schemas by their hash, so that none of them
// is out of date. It is safe for concurrent use. Create one with [NewChecker].
type Checker struct {
	turns *semaphore.Weighted

	mu     sync.Mutex
	known  map[eventtype.Hash]*Schema
	cached int // parts
}

// NewChecker returns a checker that knows no schema yet.
func NewChecker() *Checker {
	return &Checker{turns: semaphore.NewWeighted(1), known: map[eventtype.Hash]*Schema{}}
}

// Check looks the own types of events up, and compares the events' data with their schemas. faults has an error for each
// event that is refused, else nil: it wraps an [*events.FieldError] of type or data, and an [*events.UnknownTypeError] if
// the tenant has no such type. faults is nil, and nothing is looked up, if all types are of the catalogue. err is of the
// database, or of ctx.
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
			if faults[i], err = c.fits(ctx, db, ev, hash); err != nil {
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
func (c *Checker) fits(ctx context.Context, db pg.DB, ev *events.Event, hash eventtype.Hash) (fault, err error) {
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
		return &events.FieldError{Field: "data", Reason: "must be a JSON object in UTF-8"}, nil
	}
	if s.steps(ev.Data, v) > large {
		if err := c.turns.Acquire(ctx, 1); err != nil {
			return nil, fmt.Errorf("wait to compare data with a schema: %w", err)
		}
		defer c.turns.Release(1)
	}
	if wrong := s.check(ev.Data, v); wrong != nil {
		return &events.FieldError{Field: "data", Reason: "does not fit the schema of " + string(ev.Type) + ": " + wrong.Error()}, nil
	}
	return nil, nil
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
