package mailparse

import (
	"strings"
)

// Bounds of the search for a quotation.
const (
	maxReplyLines   = 5000
	maxAttribution  = 4    // lines of "On …, … wrote:", which programs fold
	maxReplyLine    = 2000 // bytes of a line that is looked at
	maxShortLine    = 300  // bytes of a line that programs write in one piece
	maxHeaderBlock  = 12   // lines
	minHeaderFields = 3
)

// quoteLines is a text, line by line. What follows a line is known beforehand, so that no line is looked at again for
// each line before it.
type quoteLines struct {
	lines    []string
	toTheEnd []bool // only quoted and empty lines follow from here on, apart from a signature
	next     []int  // the first line from here on that is not empty; len(lines) for none
	fields   []headerField
}

// headerField is what a line is as one of a copied header.
type headerField struct {
	known  bool // the others are set
	field  bool
	sender bool
	timed  bool // it has a time of day and a year
}

// maxLabel is how much of a line is searched for the name of a field, in bytes.
const maxLabel = 64

// field looks at each line once.
func (q *quoteLines) field(i int) headerField {
	if q.fields[i].known {
		return q.fields[i]
	}
	f := headerField{known: true}
	line := strings.TrimSpace(q.lines[i])
	label := Cut(line, maxLabel)
	if !hasColon(label) { // the expression costs far more
		q.fields[i] = f
		return f
	}
	if m := headerLine.FindStringSubmatch(label); m != nil {
		short := Cut(line, maxShortLine)
		f.field, f.sender = true, m[1] != ""
		f.timed = year.MatchString(short) && clock.MatchString(short)
	}
	q.fields[i] = f
	return f
}

// hasColon reports whether a text has a colon, or the wide one.
func hasColon(s string) bool { return strings.IndexByte(s, ':') >= 0 || strings.Contains(s, "：") }

func newQuoteLines(lines []string) *quoteLines {
	n := len(lines)
	q := &quoteLines{lines: lines, toTheEnd: make([]bool, n+1), next: make([]int, n+1), fields: make([]headerField, n)}
	q.toTheEnd[n], q.next[n] = true, n
	for i := n - 1; i >= 0; i-- {
		blank := strings.TrimSpace(lines[i]) == ""
		q.next[i] = i
		if blank {
			q.next[i] = q.next[i+1]
		}
		signature := lines[i] == "-- " || lines[i] == "--"
		q.toTheEnd[i] = signature || (blank || isQuoted(lines[i])) && q.toTheEnd[i+1]
	}
	return q
}

func isQuoted(line string) bool {
	return strings.HasPrefix(strings.TrimLeft(line, " \t\u200e\u200f\u202a\u202b"), ">")
}

// StripQuotation returns the text above the quoted mail. ok is false if no quotation is recognised, if nothing stands
// above it, or if the author wrote between the quoted lines: then the whole text counts as the author's.
func StripQuotation(body string) (reply string, ok bool) {
	lines := strings.SplitN(strings.ReplaceAll(body, "\r\n", "\n"), "\n", maxReplyLines+1)
	if len(lines) > maxReplyLines {
		return "", false
	}
	q := newQuoteLines(lines)
	for i, line := range lines {
		if len(line) > maxReplyLine || strings.TrimSpace(line) == "" {
			continue
		}
		start, ok := q.begins(i)
		if !ok {
			continue
		}
		reply = strings.TrimSpace(strings.Join(lines[:start], "\n"))
		return reply, reply != ""
	}
	return "", false
}

// lineMarks are what programs draw lines with.
const lineMarks = "-_*="

// isSeparator reports whether a line is "----- Original Message -----" or "---- On …, … wrote ----" in any language.
func isSeparator(line string) bool {
	line = strings.TrimSpace(line)
	words := strings.TrimRight(strings.TrimLeft(line, lineMarks), lineMarks)
	before := len(line) - len(strings.TrimLeft(line, lineMarks))
	if before < 2 || len(line)-before-len(words) < 2 || words == "" {
		return false
	}
	words = strings.TrimSpace(words)
	return separated.MatchString(words) || strings.Contains(words, "@") && isAttribution(words, false)
}

// isRule reports whether a line is the one that Outlook draws above the header of the previous mail.
func isRule(line string) bool {
	line = strings.TrimSpace(line)
	return len(line) >= 20 && (strings.Trim(line, "_") == "" || strings.Trim(line, "-") == "")
}

// begins reports whether a quotation begins at line i and continues to the end. start is its first line: an attribution
// that ends at i may have begun before.
func (q *quoteLines) begins(i int) (start int, ok bool) {
	line := q.lines[i]
	switch {
	case isQuoted(line):
		return i, q.toTheEnd[i]
	case len(line) > maxShortLine && !strings.ContainsAny(line, "<@"):
		return q.attribution(i)
	case len(line) <= maxShortLine && (isSeparator(line) || hasColon(line) && forwarded.MatchString(strings.TrimSpace(line))):
		return i, true
	case len(line) <= maxShortLine && isRule(line):
		next := q.next[i+1]
		return i, next < len(q.lines) && q.headerBlock(next, true)
	case q.headerBlock(i, false):
		return i, true
	}
	return q.attribution(i)
}

// attribution finds the first line of an attribution that ends at line i. The shortest one that is complete counts,
// because the author's own words may stand directly above it.
func (q *quoteLines) attribution(i int) (start int, ok bool) {
	end := strings.TrimRight(q.lines[i], " \t\u200e\u200f\u202c\u00a0*")
	if !strings.HasSuffix(end, ":") && !strings.HasSuffix(end, "：") {
		return 0, false
	}
	next := q.next[i+1]
	quoted := next < len(q.lines)
	if quoted && !(isQuoted(q.lines[next]) && q.toTheEnd[next]) {
		// Unmarked text could be the author's own, unless a program wrote the line above.
		line := q.lines[i]
		return i, strings.HasPrefix(line, "    ") && mayBeginAttribution(strings.TrimSpace(line)) && byProgram(strings.TrimSpace(line))
	}
	whole := ""
	for n := 0; n < maxAttribution && i-n >= 0; n++ {
		part := strings.TrimSpace(q.lines[i-n])
		if part == "" || len(part) > maxReplyLine || isQuoted(part) || n > 0 && !mayBeginAttribution(part) && !continuesAttribution(part) {
			break
		}
		whole = strings.TrimSpace(part + " " + whole)
		if (n == 0 || mayBeginAttribution(part)) && isAttribution(whole, quoted) {
			return i - n, true
		}
	}
	return i, quoted && nameWrote.MatchString(strings.TrimSpace(q.lines[i]))
}

// isAttribution reports whether an unfolded line names a time, and a writer by an address or a verb, as mail programs
// write them. quoted says that quoted lines follow: only then an address is enough.
func isAttribution(whole string, quoted bool) bool {
	if strings.Count(whole, "<") != strings.Count(whole, ">") || !dated.MatchString(whole) {
		return false
	}
	return verb.MatchString(whole) || quoted && addressed.MatchString(whole)
}

// byProgram reports whether a line is an attribution as nobody writes it: with a year, a time of day, an address and a
// verb.
func byProgram(line string) bool {
	return year.MatchString(line) && clock.MatchString(line) && strings.Contains(line, "@") && strings.Contains(line, ">") && isAttribution(line, false)
}

// mayBeginAttribution reports whether a line looks like the first of a folded attribution.
func mayBeginAttribution(line string) bool {
	return beginning.MatchString(Cut(line, maxLabel)) && !sentence.MatchString(line) || strings.Contains(line, "@") || strings.HasSuffix(line, "<")
}

// continuesAttribution reports whether a line may stand between the first and the last of one.
func continuesAttribution(line string) bool { return !sentence.MatchString(line) }

// headerBlock reports whether a line and those behind it begin with the copied header of a mail: its sender first, then more fields with
// little between them. Authors write such lists too, so a mail's header must show itself by the sender's address, or by
// a time of day with a year. ruled says that a program drew a line above.
func (q *quoteLines) headerBlock(start int, ruled bool) bool {
	if !q.field(start).sender {
		return false
	}
	fields, proven := 0, ruled || strings.Contains(q.lines[start], "@")
	for i := start; i < len(q.lines) && i < start+maxHeaderBlock; i++ {
		if q.next[i] != i && i > start && fields >= minHeaderFields {
			break
		}
		if f := q.field(i); f.field {
			fields++
			proven = proven || i > start && f.timed
		}
	}
	return proven && fields >= minHeaderFields
}
