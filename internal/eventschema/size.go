package eventschema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

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
		return n, schemaFault("has more than %d parts, with each $ref counted as what it refers to, 8 names of a list as one and a number as two; the limit is %d", MaxParts, MaxParts)
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
	n := size{parts: 1 + keywords(s)}
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

// keywords returns how many parts the keywords of a schema count that take more than a part of their own.
func keywords(s *jsonschema.Schema) int {
	names := len(s.Required)
	for _, list := range s.DependentRequired {
		names += 8 + len(list)
	}
	for _, dependency := range s.Dependencies {
		list, _ := dependency.([]string)
		names += 8 + len(list)
	}
	n := names / 8
	if s.UniqueItems {
		n += 24 // up to 20 items are compared with each other
	}
	sixteenths := 0
	if s.Enum != nil {
		for _, v := range s.Enum.Values {
			sixteenths += constant(v)
		}
	}
	if s.Const != nil {
		sixteenths += constant(*s.Const)
	}
	for _, r := range []*big.Rat{s.Minimum, s.Maximum, s.ExclusiveMinimum, s.ExclusiveMaximum, s.MultipleOf} {
		if r != nil {
			n += 3 * (1 + (r.Num().BitLen()+r.Denom().BitLen())/256)
		}
	}
	return n + sixteenths/16
}

// constant returns how many sixteenths of a part it takes to compare with a value. Numbers are compared as fractions.
func constant(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, field := range v {
			n += 1 + constant(field)
		}
	case []any:
		for _, item := range v {
			n += constant(item)
		}
	case json.Number:
		n = 2 * 16 * digits(v)
	case string:
		n += len(v) / 256
	}
	return n
}

// digits returns how much a number takes, by its digits and by what its exponent adds to them: 1 for most.
func digits(v json.Number) int {
	_, text, _ := strings.Cut(strings.ToLower(v.String()), "e")
	exponent, _ := strconv.Atoi(text)
	return 1 + (len(v)+max(exponent, -exponent))/64
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
