package mailparse

import (
	"bytes"
	"strings"
)

// decoder undoes a Content-Transfer-Encoding in pieces. It appends to dst and returns it.
type decoder interface {
	decode(dst, src []byte) []byte
	flush(dst []byte) []byte
	broken() bool // something was no valid code, and was left out or left as it is
}

// transferDecoder returns the decoder of an encoding. known is false if nobody knows it; the bytes then stay.
func transferDecoder(encoding string) (d decoder, known bool) {
	encoding, _, _ = strings.Cut(encoding, ";")
	encoding, _, _ = strings.Cut(encoding, "(") // a comment
	switch strings.ToLower(strings.Trim(encoding, " \t\"'")) {
	case "base64", "base-64", "b":
		return &base64Decoder{}, true
	case "quoted-printable", "quotedprintable", "q":
		return &quotedDecoder{}, true
	case "x-uuencode", "uuencode", "x-uue", "uue":
		return &uuDecoder{}, true
	case "", "7bit", "8bit", "binary", "7-bit", "8-bit", "none":
		return identity{}, true
	}
	return identity{}, false
}

type identity struct{}

func (identity) decode(dst, src []byte) []byte { return append(dst, src...) }
func (identity) flush(dst []byte) []byte       { return dst }
func (identity) broken() bool                  { return false }

// base64Decoder reads base64 with wrong, missing or repeated padding. It skips what is not in the alphabet.
type base64Decoder struct {
	bits   uint32
	have   int // characters in bits
	strays int
}

// base64Values are the values of the alphabet plus one; 0 is no character of it.
var base64Values = func() (t [256]byte) {
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i + 1)
	}
	return t
}()

func (d *base64Decoder) decode(dst, src []byte) []byte {
	for _, c := range src {
		v := base64Values[c]
		if v == 0 {
			switch c {
			case '=':
				dst = d.end(dst)
			case '\r', '\n', ' ', '\t':
			default:
				d.strays++
			}
			continue
		}
		d.bits = d.bits<<6 | uint32(v-1)
		if d.have++; d.have == 4 {
			dst = append(dst, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits)) //nolint:gosec // the low bytes are what is meant
			d.bits, d.have = 0, 0
		}
	}
	return dst
}

// end writes what is left of a group that padding or the end cuts off.
func (d *base64Decoder) end(dst []byte) []byte {
	switch d.have {
	case 1:
		d.strays++
	case 2:
		dst = append(dst, byte(d.bits>>4)) //nolint:gosec // the low byte is what is meant
	case 3:
		dst = append(dst, byte(d.bits>>10), byte(d.bits>>2)) //nolint:gosec // as above
	}
	d.bits, d.have = 0, 0
	return dst
}

func (d *base64Decoder) flush(dst []byte) []byte { return d.end(dst) }
func (d *base64Decoder) broken() bool            { return d.strays > 0 }

// lines cuts pieces into lines. It keeps the incomplete last one, up to a bound.
type lines struct{ rest []byte }

func (l *lines) next(src []byte) (line, after []byte, ok bool) {
	i := bytes.IndexByte(src, '\n')
	if i < 0 {
		l.rest = append(l.rest, src...)
		return nil, nil, false
	}
	line = src[:i+1]
	if len(l.rest) > 0 {
		line = append(l.rest, line...)
		l.rest = nil
	}
	return line, src[i+1:], true
}

// each decodes the whole lines of a piece.
func (l *lines) each(dst, src []byte, decode func(dst, line []byte) []byte) []byte {
	for {
		line, after, ok := l.next(src)
		if !ok {
			return dst
		}
		dst, src = decode(dst, line), after
	}
}

// last decodes the incomplete last line.
func (l *lines) last(dst []byte, decode func(dst, line []byte) []byte) []byte {
	rest := l.rest
	l.rest = nil
	return decode(dst, rest)
}

// quotedDecoder reads quoted-printable. What is no escape stays as it is.
type quotedDecoder struct {
	lines  lines
	strays int
}

func (d *quotedDecoder) decode(dst, src []byte) []byte { return d.lines.each(dst, src, d.line) }
func (d *quotedDecoder) flush(dst []byte) []byte       { return d.lines.last(dst, d.line) }

func (d *quotedDecoder) line(dst, line []byte) []byte {
	text := bytes.TrimRight(line, " \t\r\n")
	end := line[len(bytes.TrimRight(line, "\r\n")):]
	if soft, ok := bytes.CutSuffix(text, []byte{'='}); ok && len(end) > 0 {
		text, end = soft, nil
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '=' {
			if i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
				c = unhex(text[i+1])<<4 | unhex(text[i+2])
				i += 2
			} else if i+1 < len(text) {
				d.strays++
			}
		}
		dst = append(dst, c)
	}
	return append(dst, end...)
}

func (d *quotedDecoder) broken() bool { return d.strays > 0 }

// uuDecoder reads uuencode: the lines between "begin" and "end".
type uuDecoder struct {
	lines   lines
	name    string
	started bool
	ended   bool
	strays  int
}

func (d *uuDecoder) decode(dst, src []byte) []byte { return d.lines.each(dst, src, d.line) }
func (d *uuDecoder) flush(dst []byte) []byte       { return d.lines.last(dst, d.line) }

func (d *uuDecoder) line(dst, line []byte) []byte {
	line = bytes.TrimRight(line, "\r\n")
	switch {
	case len(line) == 0 || d.ended:
		return dst
	case !d.started:
		d.name, d.started = uuBegin(line)
		return dst
	case string(line) == "end":
		d.ended = true
		return dst
	}
	out, ok := uuLine(dst, line)
	if !ok {
		d.strays++
	}
	return out
}

func (d *uuDecoder) broken() bool { return d.strays > 0 || !d.started }

// uuBegin reads the line "begin 644 name".
func uuBegin(line []byte) (name string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("begin "))
	if !ok || len(rest) < 5 {
		return "", false
	}
	mode, file, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(mode) < 3 || len(mode) > 4 || bytes.Trim(mode, "01234567") != nil && len(bytes.Trim(mode, "01234567")) > 0 {
		return "", false
	}
	return string(bytes.TrimSpace(file)), true
}

// uuLine decodes one line. ok is false if it is none; dst is then unchanged.
func uuLine(dst, line []byte) (out []byte, ok bool) {
	if len(line) == 0 || line[0] < ' ' || line[0] > '`' {
		return dst, false
	}
	n := int(line[0]-' ') & 63
	code := line[1:]
	// Some programs cut the spaces at the end of a line.
	if need := (n + 2) / 3 * 4; len(code) < need {
		code = append(bytes.Clone(code), bytes.Repeat([]byte{' '}, need-len(code))...)
	}
	for _, c := range code {
		if c < ' ' || c > '`' {
			return dst, false
		}
	}
	for i := 0; n > 0; i, n = i+4, n-3 {
		a, b, c, e := (code[i]-' ')&63, (code[i+1]-' ')&63, (code[i+2]-' ')&63, (code[i+3]-' ')&63
		three := []byte{a<<2 | b>>4, b<<4 | c>>2, c<<6 | e}
		dst = append(dst, three[:min(n, 3)]...)
	}
	return dst, true
}

// decodePiece is how many encoded bytes are decoded at a time.
const decodePiece = 32 << 10

// decodeTransfer decodes content and gives it to emit in pieces, which emit must not keep. It stops where emit says so
// or the budget ends. It reports the decoder, which knows what was broken.
func decodeTransfer(b *budget, d decoder, content []byte, emit func([]byte) bool) {
	var buf []byte
	for len(content) > 0 {
		piece := content[:min(len(content), decodePiece)]
		content = content[len(piece):]
		if !b.spend(2 * len(piece)) {
			return
		}
		if buf = d.decode(buf[:0], piece); len(buf) > 0 && !emit(buf) {
			return
		}
	}
	if buf = d.flush(buf[:0]); len(buf) > 0 {
		emit(buf)
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}
