package main

import (
	"fmt"
	"html"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// run is text in one style.
type run struct {
	style string
	text  string
}

// row is a line of the screen and when it appeared.
type row struct {
	at   time.Duration
	runs []run
}

// screen is a terminal that never scrolls: it becomes as long as its text.
type screen struct {
	rows  []row
	style string
	open  bool // the last row has no line end yet
	end   time.Duration
}

// control matches a control sequence; its first group is SGR's parameters.
var control = regexp.MustCompile(`\x1b(?:\[([0-9;]*)m|\[[0-9;?]*[A-Za-ln-z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])`)

// print adds what a program wrote.
func (s *screen) print(b []byte, at time.Duration) {
	s.end = at
	text := strings.ReplaceAll(string(b), "\r\n", "\n")
	for text != "" {
		loc := control.FindStringSubmatchIndex(text)
		if loc == nil {
			s.write(text, at)
			return
		}
		s.write(text[:loc[0]], at)
		if loc[2] >= 0 {
			s.colour(text[loc[2]:loc[3]])
		}
		text = text[loc[1]:]
	}
}

// colour sets the classes of the text that follows.
func (s *screen) colour(parameters string) {
	for p := range strings.SplitSeq(parameters, ";") {
		switch p {
		case "", "0":
			s.style = ""
		case "1":
			s.style += " b"
		case "2":
			s.style += " dim"
		case "31", "32", "33", "34":
			s.style += " c" + p
		}
	}
}

func (s *screen) write(text string, at time.Duration) {
	for text != "" {
		end := strings.IndexAny(text, "\n\r")
		part := text
		if end >= 0 {
			part = text[:end]
		}
		if part != "" || end >= 0 && text[end] == '\n' {
			if !s.open {
				s.rows = append(s.rows, row{at: at})
				s.open = true
			}
		}
		if part != "" {
			r := &s.rows[len(s.rows)-1]
			r.runs = append(r.runs, run{s.style, part})
		}
		if end < 0 {
			return
		}
		if text[end] == '\n' {
			s.open = false
		} else if s.open { // a carriage return: the line is written again
			s.rows[len(s.rows)-1].runs = nil
		}
		text = text[end+1:]
	}
}

// The measures of a character and of the frame, in pixels.
const (
	charWidth, lineHeight = 7.83, 19
	margin, bar           = 18, 34
)

// draw writes the SVG. A reader who asks for less motion sees the end at once.
func (s *screen) draw(w io.Writer) {
	columns := 0
	for _, r := range s.rows {
		n := 0
		for _, t := range r.runs {
			n += utf8.RuneCountInString(t.text)
		}
		columns = max(columns, n)
	}
	width, height := float64(columns)*charWidth+2*margin, float64(len(s.rows)*lineHeight+bar+margin)
	total := (s.end + last).Seconds()
	_, _ = fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="A terminal">
<style>
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d7dce2; white-space: pre }
.b { font-weight: 600 } .dim { fill: #8b95a1 } .c31 { fill: #ff8a80 } .c32 { fill: #7ee2a8 } .c33 { fill: #f2cc60 } .c34 { fill: #79b8ff }
@media (prefers-reduced-motion: no-preference) { g text { animation: %.1fs step-end infinite } }
`, width, height, width, height, total)
	var text strings.Builder
	names := map[string]int{}
	for i, r := range s.rows {
		if len(r.runs) == 0 {
			continue
		}
		at := fmt.Sprintf("%.2f", 100*r.at.Seconds()/total)
		if _, ok := names[at]; !ok {
			names[at] = len(names)
			_, _ = fmt.Fprintf(w, "@keyframes k%d { 0%% { opacity: 0 } %s%% { opacity: 1 } }\n", names[at], at)
			_, _ = fmt.Fprintf(w, ".t%d { animation-name: k%d !important }\n", names[at], names[at])
		}
		fmt.Fprintf(&text, `<text class="t%d" x="%d" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs">`, names[at], margin, bar+(i+1)*lineHeight-5, r.length())
		for _, t := range r.runs {
			if t.style == "" {
				text.WriteString(html.EscapeString(t.text))
				continue
			}
			fmt.Fprintf(&text, `<tspan class="%s">%s</tspan>`, strings.TrimSpace(t.style), html.EscapeString(t.text))
		}
		text.WriteString("</text>\n")
	}
	_, _ = fmt.Fprintf(w, "</style>\n<rect width=\"%.0f\" height=\"%.0f\" rx=\"10\" fill=\"#12161c\"/>\n", width, height)
	_, _ = fmt.Fprint(w, `<circle cx="20" cy="18" r="6" fill="#ff5f57"/><circle cx="40" cy="18" r="6" fill="#febc2e"/><circle cx="60" cy="18" r="6" fill="#28c840"/>`+"\n")
	_, _ = fmt.Fprintf(w, "<g xml:space=\"preserve\">\n%s</g>\n</svg>\n", text.String())
}

// length is the width of a row.
func (r row) length() float64 {
	n := 0
	for _, t := range r.runs {
		n += utf8.RuneCountInString(t.text)
	}
	return float64(n) * charWidth
}
