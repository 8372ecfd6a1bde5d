package compat

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flatten turns a JSON Schema into lines. Of what somebody hands in ("given" is false), each type and each value of an
// enumeration is a line, since more of them break nothing, and what restricts a value is a "must" line. Of what somebody is
// given, all types are one line, and a field that is always there is one.
func flatten(name, schema string, given bool) ([]string, error) {
	var root map[string]any
	if err := json.Unmarshal([]byte(schema), &root); err != nil {
		return nil, err
	}
	f := flattener{root: root, given: given}
	f.walk(name, root, nil)
	return f.lines, nil
}

type flattener struct {
	root  map[string]any
	given bool
	lines []string
}

func (f *flattener) say(at, format string, args ...any) {
	f.lines = append(f.lines, at+": "+fmt.Sprintf(format, args...))
}

// limits are the keywords that restrict a value.
var limits = []string{
	"pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
	"uniqueItems", "format", "const", "if", "then", "not", "dependentRequired",
}

// walk adds the lines of a schema at a path. "within" are the references that led here, so that a type may hold itself.
func (f *flattener) walk(at string, s map[string]any, within []string) {
	if ref, ok := s["$ref"].(string); ok {
		if slices.Contains(within, ref) {
			f.say(at, "like %s", ref)
			return
		}
		f.walk(at, f.resolve(ref), append(slices.Clone(within), ref))
		return
	}
	if choices, ok := s["anyOf"].([]any); ok {
		f.choices(at, choices, within)
		return
	}
	f.types(at, s)
	for _, key := range limits {
		if v, ok := s[key]; ok {
			f.say(at, "%s%s %s", f.must("keep "), key, jsonOf(v))
		}
	}
	required, _ := s["required"].([]any)
	for _, r := range required {
		f.say(at, "%s%v", f.must("have ", "always has "), r)
	}
	fields, _ := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f.child(at+"."+name, fields[name], within)
	}
	f.child(at+"[]", s["items"], within)
	f.child(at+".*", s["additionalProperties"], within)
}

// must begins what restricts those who hand in; otherwise it is part of what is promised.
func (f *flattener) must(what string, otherwise ...string) string {
	if !f.given {
		return "must " + what
	}
	return strings.Join(otherwise, "")
}

func (f *flattener) child(at string, s any, within []string) {
	if schema, ok := s.(map[string]any); ok {
		f.walk(strings.TrimPrefix(at, ".."), schema, within)
	}
}

func (f *flattener) types(at string, s map[string]any) {
	kinds := []string{"anything"}
	switch t := s["type"].(type) {
	case string:
		kinds = []string{t}
	case []any:
		kinds = nil
		for _, k := range t {
			kinds = append(kinds, fmt.Sprint(k))
		}
	}
	f.kinds(at, kinds)
	values, _ := s["enum"].([]any)
	for _, v := range values {
		f.say(at, "may be %s", jsonOf(v))
	}
	if len(values) > 0 && !f.given {
		f.say(at, "must be one of these")
	}
}

func (f *flattener) kinds(at string, kinds []string) {
	slices.Sort(kinds)
	if f.given {
		kinds = []string{strings.Join(kinds, " or ")}
	}
	for _, k := range kinds {
		f.say(at, "%s", k)
	}
}

// choices adds the types of all alternatives in one line, and what is below each.
func (f *flattener) choices(at string, choices []any, within []string) {
	var kinds []string
	for _, c := range choices {
		inner := flattener{root: f.root, given: f.given}
		inner.child(at, c, within)
		for _, line := range inner.lines {
			if kind, ok := strings.CutPrefix(line, at+": "); ok && slices.Contains([]string{"string", "null", "object", "array", "integer", "number", "boolean"}, kind) {
				kinds = append(kinds, kind)
			} else {
				f.lines = append(f.lines, line)
			}
		}
	}
	f.kinds(at, kinds)
}

func (f *flattener) resolve(ref string) map[string]any {
	at := f.root
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at, _ = at[part].(map[string]any)
	}
	return at
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
