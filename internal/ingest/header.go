package ingest

import (
	"bytes"
	netmail "net/mail"
	"strings"
	"unicode/utf8"

	"github.com/jhillyerd/enmime/v2"
	"golang.org/x/text/encoding/charmap"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of reading a header.
const (
	maxHeaderBytes  = 1 << 20
	maxDecodedBytes = 64 << 10 // of one field that is decoded
)

// field is a header field: its name and its unfolded value, as received.
type field struct{ name, value string }

// header is a mail's header, in order.
type header []field

// get returns the first value of the name, "" for none.
func (h header) get(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// all returns the values of the name.
func (h header) all(name string) []string {
	var out []string
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			out = append(out, f.value)
		}
	}
	return out
}

// split is a mail, divided at its blank line.
type split struct {
	header header
	body   []byte // aliases the raw mail
	strays int    // lines of the header that are no fields, and were left out
	over   bool   // the header is too long; it was read up to the limit
}

// splitMail reads the header and finds the body behind it.
func splitMail(raw []byte) split {
	var s split
	rest := raw
	for len(rest) > 0 {
		line, next := cutLine(rest)
		if len(line) == 0 {
			s.body = next
			return s
		}
		value := line
		// Unfolding removes the line breaks and keeps the white space.
		if folded(next) {
			value = bytes.Clone(line)
			for folded(next) {
				line, next = cutLine(next)
				value = append(value, line...)
			}
		}
		if len(raw)-len(next) > maxHeaderBytes {
			s.over = true
			return s
		}
		rest = next
		name, val, ok := bytes.Cut(value, []byte{':'})
		name = bytes.TrimRight(name, " \t")
		if !ok || !isFieldName(name) {
			s.strays++
			continue
		}
		s.header = append(s.header, field{string(name), string(bytes.TrimSpace(val))})
	}
	return s
}

func folded(next []byte) bool { return len(next) > 0 && (next[0] == ' ' || next[0] == '\t') }

func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}

func isFieldName(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// text makes a string valid for JSON and Postgres: bytes that are not UTF-8 are
// decoded as Windows-1252, as mail programs do, and NULs are removed.
func text(s string) string {
	if !utf8.ValidString(s) {
		s, _ = charmap.Windows1252.NewDecoder().String(s) // maps every byte
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return s
}

// decoded is a header value with its encoded words decoded.
func decoded(v string) string { return text(enmime.DecodeRFC2047(text(cutAt(v, maxDecodedBytes)))) }

// cutAt cuts s to at most n bytes, between runes.
func cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n] // not UTF-8 anyway
}

// addresses reads the address lists of all fields of the name. It leaves out entries
// that cannot be read; ok is then false. cut means that a field was too long to be
// read as a whole.
func (h header) addresses(name string) (list []email.Address, ok, cut bool) {
	list, ok = []email.Address{}, true
	for _, v := range h.all(name) {
		if len(v) > maxDecodedBytes {
			cut = true
			v = cutAt(v, maxDecodedBytes)
			if i := strings.LastIndexByte(v, ','); i > 0 {
				v = v[:i]
			}
		}
		v = text(v)
		if strings.TrimSpace(v) == "" {
			continue
		}
		found, err := enmime.ParseAddressList(v)
		if err != nil {
			ok = false
			found = oneByOne(v)
		}
		for _, a := range found {
			if len(list) == maxAddresses {
				return list, ok, true
			}
			list = append(list, email.Address{Name: clip(a.Name, maxNameBytes, &cut), Address: clip(a.Address, maxIDBytes, &cut)})
		}
	}
	return list, ok, cut
}

// clip is text of at most n bytes; it sets cut if it leaves some out.
func clip(s string, n int, cut *bool) string {
	s = text(s)
	*cut = *cut || len(s) > n
	return cutAt(s, n)
}

// oneByOne returns the readable addresses of a list that also has unreadable ones.
func oneByOne(v string) []*netmail.Address {
	var out []*netmail.Address
	for part := range strings.SplitSeq(v, ",") {
		if a, err := enmime.ParseAddressList(part); err == nil {
			out = append(out, a...)
		}
	}
	return out
}
