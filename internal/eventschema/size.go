package eventschema

import (
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// size is how much a comparison with a schema takes.
type size struct {
	parts, instructions int
}

func (s *size) add(o size) {
	// Sums stay small: they saturate above the limits.
	s.parts = min(s.parts+o.parts, 2*MaxParts)
	s.instructions = min(s.instructions+o.instructions, 2*MaxInstructions)
}

// measuring measures each subschema once.
type measuring struct {
	done    map[*jsonschema.Schema]size
	running map[*jsonschema.Schema]bool
}

// measure returns the size of a schema with its references followed. It refuses one that refers to itself, and one that
// is too large.
func measure(s *jsonschema.Schema) (size, error) {
	m := measuring{map[*jsonschema.Schema]size{}, map[*jsonschema.Schema]bool{}}
	n, err := m.of(s)
	switch {
	case err != nil:
		return n, err
	case n.parts > MaxParts:
		return n, schemaFault("has more than %d parts, with each $ref counted as what it refers to; the limit is %d", MaxParts, MaxParts)
	case n.instructions > MaxInstructions:
		return n, schemaFault("has regular expressions of more than %d instructions, with each $ref counted as what it refers to; the limit is %d", MaxInstructions, MaxInstructions)
	}
	return n, nil
}

func (m *measuring) of(s *jsonschema.Schema) (size, error) {
	if n, known := m.done[s]; known {
		return n, nil
	}
	at := readable(fmt.Errorf("%s", s.Location))
	at = at[len("is refused: "):]
	switch {
	case m.running[s]:
		return size{}, schemaFault("refers to itself at %s; such schemas are not supported", at)
	case s.DynamicRef != nil || s.RecursiveRef != nil:
		return size{}, schemaFault("has a $dynamicRef or a $recursiveRef at %s; they are not supported", at)
	case s.DraftVersion != 2020:
		return size{}, schemaFault("has a $schema other than %s at %s", dialect, at)
	}
	m.running[s] = true
	defer delete(m.running, s)
	n := size{parts: 1 + len(s.Required)/16}
	if s.Enum != nil {
		n.parts += len(s.Enum.Values) / 16
	}
	if s.Pattern != nil {
		n.instructions += instructions(s.Pattern)
	}
	for pattern := range s.PatternProperties {
		n.instructions += instructions(pattern)
	}
	for _, sub := range subschemas(s) {
		more, err := m.of(sub)
		if err != nil {
			return n, err
		}
		n.add(more)
	}
	m.done[s] = n
	return n, nil
}

func instructions(r jsonschema.Regexp) int {
	if e, ok := r.(expression); ok {
		return e.instructions
	}
	return MaxInstructions + 1
}

// subschemas are those that a comparison with a schema may follow.
func subschemas(s *jsonschema.Schema) []*jsonschema.Schema {
	all := []*jsonschema.Schema{
		s.Ref, s.Not, s.If, s.Then, s.Else, s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems,
	}
	for _, list := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems} {
		all = append(all, list...)
	}
	for _, byName := range []map[string]*jsonschema.Schema{s.Properties, s.DependentSchemas} {
		for _, sub := range byName {
			all = append(all, sub)
		}
	}
	for _, sub := range s.PatternProperties {
		all = append(all, sub)
	}
	for _, sub := range s.Dependencies {
		all = append(all, schemaOrNil(sub))
	}
	for _, sub := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		all = append(all, schemaOrNil(sub))
	}
	n := 0
	for _, sub := range all {
		if sub != nil {
			all[n] = sub
			n++
		}
	}
	return all[:n]
}

// schemaOrNil returns the schema that a field may hold beside other values.
func schemaOrNil(v any) *jsonschema.Schema {
	s, _ := v.(*jsonschema.Schema)
	return s
}
