package mailparse

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/korean"
)

// decodeUTF7 decodes RFC 2152. What is no valid sequence stays as it is.
func decodeUTF7(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		plus := bytes.IndexByte(b, '+')
		if plus < 0 {
			out.Write(b)
			break
		}
		out.Write(b[:plus])
		b = b[plus+1:]
		n := 0
		for n < len(b) && isBase64(b[n]) {
			n++
		}
		word := b[:n]
		b = b[n:]
		closed := len(b) > 0 && b[0] == '-'
		if closed {
			b = b[1:]
		}
		if n == 0 {
			out.WriteByte('+')
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(string(word))
		if err != nil || len(raw) < 2 {
			out.WriteByte('+')
			out.Write(word)
			if closed {
				out.WriteByte('-')
			}
			continue
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		out.WriteString(string(utf16.Decode(units)))
	}
	return out.String()
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// decodeISO2022KR decodes RFC 1557: EUC-KR in seven bits between SO and SI.
func decodeISO2022KR(b []byte) string {
	b = bytes.ReplaceAll(b, []byte("\x1b$)C"), nil)
	out := make([]byte, 0, len(b))
	in := false
	for _, c := range b {
		switch {
		case c == 0x0e:
			in = true
		case c == 0x0f:
			in = false
		case c == '\n':
			in = false
			out = append(out, c)
		case in && c > ' ' && c < 0x7f:
			out = append(out, c|0x80)
		default:
			out = append(out, c)
		}
	}
	return decodeWith(korean.EUCKR, out)
}

func decodeWith(e encoding.Encoding, b []byte) string {
	out, err := e.NewDecoder().Bytes(b)
	if err != nil {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}
