package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
)

// column is a column of a table: its title and the field that it shows.
type column struct{ title, field string }

// gap is the space between two columns.
const gap = "  "

// printTable prints rows. On a terminal a line is as wide as the terminal at most: it cuts texts and, where that is not
// enough, leaves out columns and says which.
func (s *session) printTable(rows []map[string]any, columns []column) error {
	lines := make([][]string, 1, 1+len(rows))
	now := time.Now()
	for _, c := range columns {
		lines[0] = append(lines[0], c.title)
	}
	for _, row := range rows {
		var cells []string
		for _, c := range columns {
			switch value := row[c.field]; {
			case isTime(c.field):
				cells = append(cells, shortTime(value, now))
			case c.field == "last_status_code" && cell(value) == "0": // nothing answered
				cells = append(cells, cell(nil))
			default:
				cells = append(cells, cell(value))
			}
		}
		lines = append(lines, cells)
	}
	whole := make([]bool, len(columns))
	for i, c := range columns {
		whole[i] = isTime(c.field) || c.field == "id" || strings.HasSuffix(c.field, "_id") && c.field != "agent_id"
	}
	lines, left := fit(lines, whole, s.columns())
	for _, line := range lines {
		for i, text := range line {
			if tone, ok := tones[strings.TrimSpace(text)]; ok {
				line[i] = s.paint(tone, text)
			}
		}
		if _, err := fmt.Fprintln(s.out, strings.TrimRight(strings.Join(line, gap), " ")); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if len(left) > 0 {
		s.note(fmt.Sprintf("no room for %s: widen the terminal, or add --json", strings.Join(left, ", ")))
	}
	return nil
}

// minWidth is the width to which a text is cut at most.
const minWidth = 10

// fit pads the cells of each column to one width. Where the lines are wider than width, it leaves out columns, the last
// ones first, and cuts the widest texts. It never leaves out the first column, and never cuts one of which whole is
// true, such as ids, unless a line has room for nothing else. It returns the titles of the columns that are left out.
func fit(lines [][]string, whole []bool, width int) (fitted [][]string, left []string) {
	if len(lines) == 0 {
		return nil, nil
	}
	var kept, widths []int
	room := width
	for i, title := range lines[0] {
		natural := 0
		for _, line := range lines {
			natural = max(natural, runewidth.StringWidth(line[i]))
		}
		least := natural
		if !whole[i] && i > 0 {
			least = min(natural, minWidth)
		}
		if i == 0 {
			natural = min(natural, width)
			least = natural
		} else {
			least += len(gap)
		}
		if least > room {
			left = append(left, title)
			continue
		}
		room -= least
		kept, widths = append(kept, i), append(widths, natural)
	}
	shrink(widths, func(n int) bool { return n > 0 && !whole[kept[n]] }, width)
	for _, line := range lines {
		var out []string
		for n, i := range kept {
			text := line[i]
			if runewidth.StringWidth(text) > widths[n] {
				text = runewidth.Truncate(text, widths[n], "…")
			}
			out = append(out, runewidth.FillRight(text, widths[n]))
		}
		fitted = append(fitted, out)
	}
	return fitted, left
}

// shrink takes from the widest columns that can be cut until a line has width.
func shrink(widths []int, cut func(int) bool, width int) {
	sum := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	for sum > width {
		widest := -1
		for i := range widths {
			if cut(i) && widths[i] > minWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
		sum--
	}
}

// printJSON prints JSON, indented. Characters that could control a terminal are escaped, which leaves the values as they
// are.
func (s *session) printJSON(answer json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, answer, "", "  "); err != nil {
		return fmt.Errorf("decode the response: %w", err)
	}
	s.say("%s", escaped(b.String()))
	return nil
}

// printIndented prints a value as indented JSON.
func printIndented(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
