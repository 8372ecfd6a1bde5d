package mailparse

import (
	"bytes"
	"strings"
)

// Field is a header field: its name and its unfolded value, as received, in whatever charset.
type Field struct{ Name, Value string }

// Header is the header of a mail or a part, in order.
type Header []Field

// Get returns the first value of the name, "" for none.
func (h Header) Get(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Has reports whether there is a field of the name.
func (h Header) Has(name string) bool {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return true
		}
	}
	return false
}

// All returns the values of the name.
func (h Header) All(name string) []string {
	var out []string
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			out = append(out, f.Value)
		}
	}
	return out
}

// Split is a mail, divided at its blank line.
type Split struct {
	Header Header
	Body   []byte // aliases the raw mail
	Strays int    // lines of the header that are no fields, and were left out
	Over   bool   // the header is too long; it was read up to the limit
}

// SplitMail reads the header and finds the body behind it. It reads at most [MaxHeaderBytes].
func SplitMail(raw []byte) Split { return split(raw, MaxHeaderBytes) }

func split(raw []byte, limit int) Split {
	var s Split
	rest := bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")) // the byte order mark of a mail that was a file
	for len(rest) > 0 {
		line, next := cutLine(rest)
		if len(line) == 0 {
			s.Body = next
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
		if len(raw)-len(next) > limit {
			s.Over = true
			return s
		}
		first := len(rest) == len(raw)
		rest = next
		name, val, ok := bytes.Cut(value, []byte{':'})
		name = bytes.TrimRight(name, " \t")
		if !ok || !isFieldName(name) {
			if !first || !isPostmark(value) {
				s.Strays++
			}
			continue
		}
		s.Header = append(s.Header, Field{string(name), string(bytes.TrimSpace(val))})
	}
	return s
}

// isPostmark reports whether the line is the "From " line that mailboxes put before a mail.
func isPostmark(line []byte) bool {
	return bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))
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

// bracketed returns what stands in angle brackets, at most n times. White space within comes from folding.
func bracketed(v string, n int) []string {
	var out []string
	v = Cut(v, MaxField)
	for len(out) < n {
		_, rest, ok := strings.Cut(v, "<")
		if !ok {
			break
		}
		in, after, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		if in = Text(strings.Join(strings.Fields(in), "")); in != "" {
			out = append(out, in)
		}
		v = after
	}
	return out
}
