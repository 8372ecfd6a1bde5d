package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// leading are the fields that are printed first.
var leading = []string{"id", "address", "name", "type", "url", "status", "secret", "signing_secret"}

// printObject prints a JSON object for people, except the fields of without: a field on a line, an object or a list of
// objects indented below its name. Nothing is cut.
func (s *session) printObject(answer json.RawMessage, without ...string) error {
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		return fmt.Errorf("decode the response: %w", err)
	}
	for _, name := range append(without, "$schema") {
		delete(o, name)
	}
	lines := describe(o)
	s.say("%s", strings.Join(lines, "\n"))
	return nil
}

// describe gives the lines of an object.
func describe(o map[string]any) []string {
	fields := slices.Sorted(maps.Keys(o))
	slices.SortStableFunc(fields, func(a, b string) int { return rank(a) - rank(b) })
	width := 0
	for _, f := range fields {
		if below(o[f]) == nil {
			width = max(width, runewidth.StringWidth(printable(f)))
		}
	}
	var lines []string
	for _, f := range fields {
		name := printable(f)
		if nested := below(o[f]); nested != nil {
			lines = append(lines, name)
			for _, line := range nested {
				lines = append(lines, "  "+line)
			}
			continue
		}
		value := cell(withoutEnd(o[f]))
		if isTime(f) {
			value = localTime(o[f])
		}
		lines = append(lines, runewidth.FillRight(name, width)+gap+value)
	}
	return lines
}

// withoutEnd removes the line breaks at the end of a text.
func withoutEnd(v any) any {
	if text, ok := v.(string); ok {
		return strings.TrimRight(text, "\r\n")
	}
	return v
}

// below gives the lines of a value that has some of its own: an object, a list of objects, or a text of several lines.
// It returns nil for others.
func below(v any) (lines []string) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) > 0 {
			return describe(v)
		}
	case []any:
		if flat(v) {
			return nil
		}
		for _, e := range v {
			mark := "- "
			of := below(e)
			if of == nil {
				of = []string{cell(e)}
			}
			for _, line := range of {
				lines = append(lines, mark+line)
				mark = "  "
			}
		}
	case string:
		if text := strings.TrimRight(v, "\r\n"); strings.Contains(text, "\n") {
			for line := range strings.SplitSeq(text, "\n") {
				lines = append(lines, printable(strings.ReplaceAll(strings.TrimRight(line, "\r"), "\t", "  ")))
			}
		}
	}
	return lines
}

func rank(field string) int {
	if i := slices.Index(leading, field); i >= 0 {
		return i
	}
	return len(leading)
}
