package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// column is a column of a table: its title and the field that it shows.
type column struct{ title, field string }

// gap is the space between two columns.
const gap = "  "

func (s *session) printTable(rows []map[string]any, columns []column) error {
	lines := make([][]string, 1, 1+len(rows))
	for _, c := range columns {
		lines[0] = append(lines[0], c.title)
	}
	for _, row := range rows {
		var cells []string
		for _, c := range columns {
			cells = append(cells, cell(row[c.field]))
		}
		lines = append(lines, cells)
	}
	width, ok := terminal(s.out)
	if !ok {
		width = math.MaxInt // nothing is cut for scripts
	}
	for _, line := range fit(lines, width) {
		for i, text := range line {
			if tone, ok := tones[strings.TrimSpace(text)]; ok {
				line[i] = s.paint(tone, text)
			}
		}
		if _, err := fmt.Fprintln(s.out, strings.TrimRight(strings.Join(line, gap), " ")); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// minWidth is the width below which no column is cut.
const minWidth = 8

// fit pads the cells of each column to one width. It cuts the widest columns
// until a line fits width or no column can be cut. The first column names the
// row and is never cut.
func fit(lines [][]string, width int) [][]string {
	if len(lines) == 0 {
		return nil
	}
	widths := make([]int, len(lines[0]))
	sum := len(gap) * (len(widths) - 1)
	for i := range widths {
		for _, line := range lines {
			widths[i] = max(widths[i], runewidth.StringWidth(line[i]))
		}
		sum += widths[i]
	}
	for sum > width {
		widest := -1
		for i := 1; i < len(widths); i++ {
			if widths[i] > minWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		sum--
	}
	out := make([][]string, len(lines))
	for n, line := range lines {
		for i, text := range line {
			if runewidth.StringWidth(text) > widths[i] {
				text = runewidth.Truncate(text, widths[i], "…")
			}
			out[n] = append(out[n], runewidth.FillRight(text, widths[i]))
		}
	}
	return out
}

// leading are the fields that are printed first.
var leading = []string{"id", "address", "name", "type", "url", "status", "secret", "signing_secret"}

// printObject prints each field of a JSON object on a line, except the fields of without.
func (s *session) printObject(answer json.RawMessage, without ...string) error {
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		return fmt.Errorf("decode the response: %w", err)
	}
	fields := slices.Sorted(maps.Keys(o))
	slices.SortStableFunc(fields, func(a, b string) int { return rank(a) - rank(b) })
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f == "$schema" || slices.Contains(without, f) {
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
		return fmt.Errorf("decode the response: %w", err)
	}
	s.say("%s", b.String())
	return nil
}

// printIndented prints a value as indented JSON.
func printIndented(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// cell formats a value on one line.
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

// printable replaces control characters, so that text of strangers cannot
// control the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}
