package mailparse

import (
	"strings"
	"unicode/utf8"
)

// DecodeWords decodes the encoded words of a field's value (RFC 2047, RFC 2231) as mail programs do: also within
// quotes, beside other text, with spaces, 8-bit bytes or wrong padding. The rest is decoded as [Text].
func DecodeWords(v string) string { return decodeWords(Cut(v, MaxField), "") }

// decodeWords decodes a value. label is the charset of bytes outside the encoded words, "" for unknown.
func decodeWords(v, label string) string { return oneLine(decodeField(v, label)) }

// oneLine replaces each run of control characters by a space: a field is one line, and an encoded line break must not
// begin another where somebody writes the text into a header.
func oneLine(s string) string {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	var out strings.Builder
	in := false
	for _, r := range s {
		if control(r) {
			in = true
			continue
		}
		if in && out.Len() > 0 && r != ' ' {
			out.WriteByte(' ')
		}
		in = false
		out.WriteRune(r)
	}
	return out.String()
}

func decodeField(v, label string) string {
	if !strings.Contains(v, "=?") {
		return textIn(v, label)
	}
	var (
		out  strings.Builder
		run  []byte // decoded bytes of adjacent words of one charset
		of   string // that charset
		word bool   // the last piece was an encoded word
	)
	flush := func() {
		if len(run) > 0 {
			s, _ := decodeCharset(run, of)
			out.WriteString(s)
			run = run[:0]
		}
	}
	last := strings.LastIndex(v, "?=")
	for v != "" {
		at, w, ok := nextWord(v, last)
		if !ok {
			at = len(v)
		}
		// White space between two encoded words is not part of the text.
		if between := v[:at]; !word || !ok || strings.Trim(between, " \t\r\n") != "" {
			flush()
			out.WriteString(textIn(between, label))
		}
		if !ok {
			break
		}
		if !strings.EqualFold(of, w.charset) {
			flush()
			of = w.charset
		}
		run = append(run, w.bytes()...)
		word = true
		v, last = v[at+w.size:], last-at-w.size
	}
	flush()
	return Text(out.String())
}

func textIn(s, label string) string {
	if label != "" && !utf8.ValidString(s) || strings.IndexByte(s, '\x1b') >= 0 {
		s, _ = decodeCharset([]byte(s), label)
	}
	return Text(s)
}

// encodedWord is one =?charset?encoding?text?=.
type encodedWord struct {
	charset string
	base64  bool
	text    string
	size    int // of all of it, in bytes
}

// nextWord finds the first encoded word and where it begins. last is where the last "?=" of v begins; without it, each
// beginning of a word would search to the end.
func nextWord(v string, last int) (at int, w encodedWord, ok bool) {
	for at < last {
		i := strings.Index(v[at:last], "=?")
		if i < 0 {
			return 0, w, false
		}
		at += i
		if w, ok := wordAt(v[at:]); ok {
			return at, w, true
		}
		at += 2
	}
	return 0, w, false
}

const maxCharsetName = 64

// wordAt reads the encoded word at the beginning of v.
func wordAt(v string) (encodedWord, bool) {
	var w encodedWord
	label := v[2:min(len(v), 2+maxCharsetName)]
	end := strings.IndexByte(label, '?')
	if end <= 0 || strings.ContainsAny(label[:end], " \t=\"<>,") {
		return w, false
	}
	w.charset, _, _ = strings.Cut(label[:end], "*") // RFC 2231 adds a language
	rest := v[2+end+1:]
	if len(rest) < 2 || rest[1] != '?' {
		return w, false
	}
	switch rest[0] {
	case 'b', 'B':
		w.base64 = true
	case 'q', 'Q':
	default:
		return w, false
	}
	n := strings.Index(rest[2:], "?=")
	if n < 0 {
		return w, false
	}
	w.text = rest[2 : 2+n]
	w.size = len(v) - len(rest) + 2 + n + 2
	return w, true
}

func (w encodedWord) bytes() []byte {
	out := make([]byte, 0, len(w.text))
	if w.base64 {
		d := base64Decoder{}
		out = d.decode(out, []byte(w.text))
		return d.flush(out)
	}
	for i := 0; i < len(w.text); i++ {
		c := w.text[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(w.text) && isHex(w.text[i+1]) && isHex(w.text[i+2]):
			c = unhex(w.text[i+1])<<4 | unhex(w.text[i+2])
			i += 2
		}
		out = append(out, c)
	}
	return out
}
