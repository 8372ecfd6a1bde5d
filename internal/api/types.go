package api

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
)

// eventType is an event type in requests that look for events: built in, or one that the tenant has or has had.
type eventType string

// Schema names the catalogue.
func (eventType) Schema(huma.Registry) *huma.Schema {
	return typeSchema("A type of the catalogue ("+catalogued(func(events.Type) bool { return true })+"), or an own one.", events.EmailReceived)
}

// Resolve refuses what no event can have.
func (t *eventType) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	if typ := events.Type(*t); typ != "" && !typ.Possible() {
		return faults(at, (&events.UnknownTypeError{Type: typ}).Error())
	}
	return nil
}

// mailType is an event type that a tenant may create.
type mailType string

// Schema names the catalogue without the operational types.
func (mailType) Schema(huma.Registry) *huma.Schema {
	return typeSchema("A type of the catalogue ("+catalogued(func(t events.Type) bool { return !t.Operational() })+"), or an own one; see POST /v1/event-types.", events.EmailSent)
}

// eventPattern is what a webhook, a replay or a tail can ask for: a type, a pattern, or * for all.
type eventPattern string

// Schema names the catalogue and the forms of patterns.
func (eventPattern) Schema(huma.Registry) *huma.Schema {
	return typeSchema("A type of the catalogue ("+catalogued(func(events.Type) bool { return true })+"), an own type, "+
		"a pattern such as order.* for every type that begins with \"order.\", or * alone for every type. "+
		"Patterns and * select operational and later types too.", events.EmailReceived)
}

// Resolve refuses what selects nothing.
func (t *eventPattern) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	return faults(at, events.Type(*t).CheckSelector())
}

func typeSchema(description string, example events.Type) *huma.Schema {
	most := events.MaxTypeBytes + 2
	return &huma.Schema{Type: huma.TypeString, MaxLength: &most, Description: description, Examples: []any{string(example)}}
}

// catalogued lists types of the catalogue.
func catalogued(chosen func(events.Type) bool) string {
	var names []string
	for _, t := range events.Catalogue() {
		if chosen(t) {
			names = append(names, string(t))
		}
	}
	return strings.Join(names, ", ")
}

func eventPatterns(in []eventPattern) []events.Type {
	out := make([]events.Type, len(in))
	for i, t := range in {
		out[i] = events.Type(t)
	}
	return out
}

func showPatterns(in []events.Type) []eventPattern {
	out := make([]eventPattern, len(in))
	for i, t := range in {
		out[i] = eventPattern(t)
	}
	return out
}
