package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
)

// column is a table's column: its title, and the field that it shows.
type column struct{ title, field string }

func (s *session) printTable(rows []map[string]any, columns []column) error {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	_, _ = fmt.Fprintln(w, strings.Join(titles, "\t"))
	for _, row := range rows {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = cell(row[c.field])
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// leading are the fields that an object's print begins with.
var leading = []string{"id", "address", "name", "type", "url", "status", "secret", "signing_secret"}

func (s *session) printObject(answer json.RawMessage) error {
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	fields := slices.Sorted(maps.Keys(o))
	slices.SortStableFunc(fields, func(a, b string) int { return rank(a) - rank(b) })
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f == "$schema" {
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\n", f, cell(o[f]))
	}
	return w.Flush()
}

func rank(field string) int {
	if i := slices.Index(leading, field); i >= 0 {
		return i
	}
	return len(leading)
}

func (s *session) printJSON(answer json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, answer, "", "  "); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	s.say("%s", b.String())
	return nil
}

// cell is a value in one line.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return printable(v)
	case []any:
		if !slices.ContainsFunc(v, func(e any) bool { _, ok := e.(map[string]any); return ok }) {
			parts := make([]string, len(v))
			for i, e := range v {
				parts[i] = cell(e)
			}
			return strings.Join(parts, ",")
		}
	case bool, json.Number:
		return fmt.Sprint(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return printable(string(b))
}

// printable keeps what a stranger wrote from steering the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}
