package mailparse

import (
	"strings"
)

// Bounds of the search for a quotation.
const (
	maxReplyLines   = 5000
	maxAttribution  = 4    // lines of "On …, … wrote:", which programs fold
	maxReplyLine    = 2000 // bytes of a line that is looked at
	maxHeaderBlock  = 12   // lines
	minHeaderFields = 3
)

// quoteLines is a text, line by line. What follows a line is known beforehand, so that no line is looked at again for
// each line before it.
type quoteLines struct {
	lines    []string
	toTheEnd []bool // only quoted and empty lines follow from here on, apart from a signature
	next     []int  // the first line from here on that is not empty; len(lines) for none
}

func newQuoteLines(lines []string) *quoteLines {
	n := len(lines)
	q := &quoteLines{lines: lines, toTheEnd: make([]bool, n+1), next: make([]int, n+1)}
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

// begins reports whether a quotation begins at line i and continues to the end. start is its first line: an attribution
// that ends at i may have begun before.
func (q *quoteLines) begins(i int) (start int, ok bool) {
	line := q.lines[i]
	switch {
	case isQuoted(line):
		return i, q.toTheEnd[i]
	case separator.MatchString(line) || forwarded.MatchString(line):
		return i, true
	case rule.MatchString(line):
		next := q.next[i+1]
		return i, next < len(q.lines) && headerBlock(q.lines[next:], true)
	case headerBlock(q.lines[i:], false):
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
		return 0, false // unmarked text could be the author's own
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

// mayBeginAttribution reports whether a line looks like the first of a folded attribution.
func mayBeginAttribution(line string) bool {
	return beginning.MatchString(line) && !sentence.MatchString(line) || strings.Contains(line, "@") || strings.HasSuffix(line, "<")
}

// continuesAttribution reports whether a line may stand between the first and the last of one.
func continuesAttribution(line string) bool { return !sentence.MatchString(line) }

// headerBlock reports whether the lines begin with the copied header of a mail: its sender first, then more fields with
// little between them. Authors write such lists too, so a mail's header must show itself by the sender's address, or by
// a time of day with a year. ruled says that a program drew a line above.
func headerBlock(lines []string, ruled bool) bool {
	first := headerLine.FindStringSubmatch(lines[0])
	if first == nil || first[1] == "" {
		return false
	}
	fields, proven := 0, ruled || strings.Contains(lines[0], "@")
	for n, l := range lines {
		if n == maxHeaderBlock || strings.TrimSpace(l) == "" && n > 0 && fields >= minHeaderFields {
			break
		}
		if len(l) <= maxReplyLine && headerLine.MatchString(l) {
			fields++
			proven = proven || fields > 1 && clock.MatchString(l) && year.MatchString(l)
		}
	}
	return proven && fields >= minHeaderFields
}
