package mailparse

import (
	"bytes"
	"html"
	"regexp"
	"strings"
)

// maxFooter is how much of the end of an encoded part is searched for text that is not encoded, in bytes. Mailing lists
// and company gateways append such footers, and leave the Content-Transfer-Encoding as it is.
const maxFooter = 32 << 10

// splitFooter cuts an encoded part before the text that somebody has appended to it without encoding it. footer is nil
// if there is none, or if it reads the same either way.
func splitFooter(d decoder, content []byte) (encoded, footer []byte) {
	at := 0
	from := max(0, len(content)-maxFooter)
	if from > 0 {
		i := bytes.IndexByte(content[from:], '\n')
		if i < 0 {
			return content, nil
		}
		from += i + 1
	}
	switch d.(type) {
	case *base64Decoder:
		b := behindBase64{}
		eachLine(content[from:], b.line)
		at = b.found
	case *quotedDecoder:
		at = clearBehindQuoted(content[from:])
	}
	if at <= 0 {
		return content, nil
	}
	return content[:from+at], content[from+at:]
}

// eachLine calls f with the place of each line and the line without the white space around it.
func eachLine(text []byte, f func(at int, line []byte)) {
	for at := 0; at < len(text); {
		line, next := cutLine(text[at:])
		f(at, bytes.TrimSpace(line))
		at = len(text) - len(next)
	}
}

// longCode is the length from which on a line of letters is base64, wherever it stands.
const longCode = 24

// base64Line reads a line. coded is how much of it is base64 up to its padding; less than the line if text follows, and 0
// if the line is text. ends says that it has padding.
func base64Line(line []byte) (coded int, ends bool) {
	for coded < len(line) && base64Values[line[coded]] != 0 {
		coded++
	}
	padding := 0
	for coded+padding < len(line) && line[coded+padding] == '=' {
		padding++
	}
	rest := line[coded+padding:]
	switch {
	case coded > 0 && padding > 0 && padding <= 2:
		if more, _ := base64Line(rest); more == len(rest) {
			return len(line), true
		}
		return coded + padding, true
	case len(rest) == 0 && padding == 0:
		return coded, false
	}
	// Damage before the end of base64 is no text.
	last := line[bytes.LastIndexByte(line, ' ')+1:]
	if len(last) < len(line) && last[len(last)-1] == '=' {
		if n, _ := base64Line(last); n == len(last) {
			return len(line), true
		}
	}
	return 0, false
}

// behindBase64 finds the text behind base64, line by line.
type behindBase64 struct {
	found   int // where it begins; 0 for nowhere
	data    bool
	ended   bool // the last line of base64 has padding, or is shorter than the others
	width   int
	last    int  // the line of base64 before
	lastOdd bool // it has no padding and needs some
}

// line looks at a line at a place. What is no base64 but has base64 behind it is damage, and no footer.
func (b *behindBase64) line(at int, line []byte) {
	if len(line) == 0 {
		return
	}
	coded, ends := base64Line(line)
	switch {
	case b.found > 0:
		if coded == len(line) && (len(line) >= longCode || ends) {
			b.found, b.ended = 0, false
		}
	case coded > 0 && coded < len(line): // behind the padding, in the same line
		b.data, b.found = true, at+coded
		return
	case coded == 0 && b.data:
		b.found = at
		if b.lastOdd && b.last > 0 {
			b.found = b.last // a word of the footer that looks like base64
		}
	case coded > 0 && b.ended && !ends && len(line) < longCode:
		b.found = at
	}
	if coded == 0 {
		return
	}
	b.ended = b.ended || ends || b.data && len(line) < b.width
	b.data, b.width = true, max(b.width, len(line))
	b.last, b.lastOdd = at, !ends && len(line)%4 != 0
}

// neverEncoded reports whether a part that claims to be base64 is text: no line is base64, and one has several words and
// a character that base64 has not.
func neverEncoded(content []byte) bool {
	code, text := false, false
	eachLine(content[:min(len(content), maxFooter)], func(_ int, line []byte) {
		coded, _ := base64Line(line)
		code = code || coded > 0
		text = text || coded == 0 && bytes.Count(line, []byte{' '}) > 1 && bytes.ContainsAny(line, ".,:;?!-'()\"")
	})
	return text && !code
}

var (
	// footerRule is a line above a footer.
	footerRule = regexp.MustCompile(`^(?:[_*~-]{10,}|-- ?)$`)
	// clearLink is a link that quoted-printable would have encoded: "=" is always "=3D" there.
	clearLink = regexp.MustCompile(`[?&][\w.-]{1,40}=(?:[^3\r\n]|3[^D])`)
	// quotedText is what only quoted-printable has: a soft line break, or the escape of "=", of a space at the end of a
	// line, or of a letter that is not ASCII.
	quotedText = regexp.MustCompile(`(?m)=\r?$|=3D|=20\r?$|=C[23]=[89AB]|=E2=80`)
)

// clearBehindQuoted finds the text behind quoted-printable, below a line; 0 for none. Most text is the same encoded or
// not, so only a link matters: its "=" and two digits would be read as an escape.
func clearBehindQuoted(text []byte) int {
	rule, found := 0, 0
	eachLine(text, func(at int, line []byte) {
		switch {
		case footerRule.Match(line):
			rule, found = at, 0
		case rule > 0 && clearLink.Match(line):
			found = rule
		}
	})
	if found > 0 && quotedText.Match(text[found:]) {
		return 0
	}
	return found
}

// tag is an element of HTML that footers have.
var tag = regexp.MustCompile(`(?i)<(?:/|(?:a|b|br|p|div|hr|table|tr|td|span|font|pre|i|em|small|strong|ul|li|html|body)[\s/>])`)

// withFooter appends the footer to a text.
func withFooter(text, footer string, isHTML bool) string {
	if isHTML && !tag.MatchString(footer) {
		footer = `<div style="white-space: pre-wrap">` + html.EscapeString(strings.TrimSpace(footer)) + "</div>\n"
	}
	footer = strings.TrimLeft(footer, "\r\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + footer
}
