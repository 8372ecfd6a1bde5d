package mailparse

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// unflow joins the lines of format=flowed (RFC 3676) to paragraphs. delSp says that the space at the end of a line is
// not part of the text.
func unflow(v string, delSp bool) string {
	var out strings.Builder
	out.Grow(len(v))
	depth, flowing, first := 0, false, true
	for line := range strings.SplitSeq(strings.TrimSuffix(strings.ReplaceAll(v, "\r\n", "\n"), "\n"), "\n") {
		quoted := len(line) - len(strings.TrimLeft(line, ">"))
		line = line[quoted:]
		line = strings.TrimPrefix(line, " ") // stuffed
		signature := line == "-- "
		switch {
		case flowing && quoted == depth && !signature:
		case !first:
			out.WriteByte('\n')
			fallthrough
		default:
			writeQuote(&out, quoted, line)
		}
		first = false
		depth = quoted
		flowing = strings.HasSuffix(line, " ") && !signature
		if flowing && delSp && splitsWord(line) {
			line = line[:len(line)-1]
		}
		out.WriteString(line)
	}
	out.WriteByte('\n')
	return out.String()
}

// maxQuoteMarks is how many quotation marks are written before a line.
const maxQuoteMarks = 50

func writeQuote(out *strings.Builder, depth int, line string) {
	if depth > 0 {
		out.WriteString(strings.Repeat(">", min(depth, maxQuoteMarks)))
		if line != "" {
			out.WriteByte(' ')
		}
	}
}

// longWord is the length in bytes of a word that a sender had to break.
const longWord = 50

// splitsWord reports whether the space at the end of a flowed line with DelSp is not part of the text. The rule says
// that it never is; but some senders set DelSp and break between words at their only space. It stays there between
// words of a script that has spaces, unless the word fills the line.
func splitsWord(line string) bool {
	text := line[:len(line)-1]
	if strings.HasSuffix(text, " ") {
		return true
	}
	last, _ := utf8.DecodeLastRuneInString(text)
	if !unicode.In(last, unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Hebrew, unicode.Arabic, unicode.Nd) && !strings.ContainsRune(".,;:!?)", last) {
		return true
	}
	return len(text)-strings.LastIndexByte(text, ' ') > longWord
}
