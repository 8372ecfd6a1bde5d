package events

import (
	"fmt"
	"slices"
	"strings"
)

// EveryType as a value of a webhook's events selects every type, operational and later ones included.
const EveryType Type = "*"

// Selects reports whether the type, as a value of a webhook's events, selects another: it is the same, or [EveryType],
// or a pattern. The pattern order.* selects every type that begins with "order.", also order.line.added. A pattern
// selects operational types too.
func (t Type) Selects(other Type) bool {
	last := len(t) - 1
	if last < 0 || t[last] != '*' {
		return t == other
	}
	return last == 0 || len(other) > last && other[:last] == t[:last]
}

// Pattern reports whether the type is [EveryType] or a pattern, and not the name of a type.
func (t Type) Pattern() bool { return strings.HasSuffix(string(t), "*") }

// Selectors returns all values that select the type: itself, patterns, [EveryType].
func (t Type) Selectors() []Type {
	out := []Type{t, EveryType}
	for i := range len(t) {
		if t[i] == '.' {
			out = append(out, t[:i+1]+"*")
		}
	}
	return out
}

// CheckSelector returns what is wrong with a value of a webhook's events; "" for nothing. It may be a type of the catalogue,
// a name that [Type.CheckOwn] accepts, a pattern or [EveryType]. Whether an own type exists is not its concern, and types
// for a pattern may come later.
func (t Type) CheckSelector() (fault string) {
	name := string(t)
	at := strings.IndexByte(name, '*')
	switch {
	case t == EveryType, at < 0 && t.Possible():
		return ""
	case at < 0:
		return (&UnknownTypeError{t}).Error()
	case at != len(name)-1:
		return fmt.Sprintf("is %q: the * at character %d may stand only at the end, for the rest of the name", clip(name, 64), at+1)
	case at == 0 || name[at-1] != '.':
		return fmt.Sprintf("is %q: the * at character %d must follow a dot, as in order.*", clip(name, 64), at+1)
	}
	prefix := name[:at-1]
	if wrong := partsFault(prefix); wrong != "" {
		return fmt.Sprintf("is %q, which %s", clip(name, 64), wrong)
	}
	if first, _, _ := strings.Cut(prefix, "."); slices.Contains(reserved, first) && !slices.ContainsFunc(catalogue, t.Selects) {
		there := strings.Join(selected(Type(first+".*")), ", ")
		if there == "" {
			there = "none yet"
		}
		return fmt.Sprintf("is %q, which selects no type; those of Fanmail that begin with %s. are: %s", clip(name, 64), first, there)
	}
	return ""
}

// selected are the names of the catalogue that a pattern selects.
func selected(pattern Type) (names []string) {
	for _, t := range catalogue {
		if pattern.Selects(t) {
			names = append(names, string(t))
		}
	}
	return names
}
