package subscribers

import (
	"slices"
	"strings"
	"sync"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/datafilter"
)

// Takers are webhooks of one tenant that are matched together: a type is looked up once for all of them, and what their
// filters ask of an event's data is read once. They are immutable and safe for concurrent use.
type Takers struct {
	list []*Entry
	// asked are the places in the list by the types and patterns; made when the first event needs it.
	asked func() map[events.Type][]int
	plan  func() *datafilter.Plan // likewise; nil: no filter is on data
}

// NewTakers returns the webhooks for matching.
func NewTakers(list ...*Entry) *Takers {
	t := &Takers{list: list, asked: sync.OnceValue(func() map[events.Type][]int { return placesOf(list) })}
	if slices.ContainsFunc(list, func(e *Entry) bool { return e.data != nil }) {
		t.plan = sync.OnceValue(func() *datafilter.Plan {
			var all []*datafilter.Filter
			for _, e := range list {
				all = append(all, e.data)
			}
			return datafilter.NewPlan(all...)
		})
	}
	return t
}

// placesOf are the places of webhooks by their types, and by what their patterns have before the *.
func placesOf(list []*Entry) map[events.Type][]int {
	out := map[events.Type][]int{}
	for i, e := range list {
		for _, t := range e.Events {
			key := events.Type(strings.TrimSuffix(string(t), "*"))
			out[key] = append(out[key], i)
		}
	}
	return out
}

// asking appends to a slice the places of the webhooks that ask for a type, in their order. What it costs depends on the
// parts of the type's name and on the webhooks that ask for it, not on how many types and patterns there are.
func (t *Takers) asking(to []int, typ events.Type) []int {
	asked := t.asked()
	to = append(append(to, asked[typ]...), asked[""]...)
	for i := range len(typ) {
		if typ[i] == '.' {
			to = append(to, asked[typ[:i+1]]...)
		}
	}
	slices.Sort(to)
	return slices.Compact(to)
}

// All returns the webhooks. Callers must not change the list.
func (t *Takers) All() []*Entry {
	if t == nil {
		return nil
	}
	return t.list
}

// NeedEnvelope reports whether [Takers.Match] needs an event's envelope: whether a webhook with a filter on data asks for
// the event otherwise.
func (t *Takers) NeedEnvelope(ev *events.Record) bool {
	if t == nil || t.plan == nil {
		return false
	}
	var room [64]int
	for _, i := range t.asking(room[:0], ev.Type) {
		if e := t.list[i]; e.data != nil && e.Filters.refuses(ev) == "" {
			return true
		}
	}
	return false
}

// Match appends to a slice the webhooks that want an event of their tenant. The envelope is the event's; it may be nil
// if the webhooks do not need it.
func (t *Takers) Match(to []*Entry, ev *events.Record, envelope []byte) []*Entry {
	if t == nil {
		return to
	}
	var values *datafilter.Values
	var room [64]int
	for _, i := range t.asking(room[:0], ev.Type) {
		e := t.list[i]
		if e.Filters.refuses(ev) != "" {
			continue
		}
		if e.data != nil {
			if values == nil {
				values = t.plan().Read(envelope)
			}
			if !e.data.Match(values) {
				continue
			}
		}
		to = append(to, e)
	}
	return to
}
