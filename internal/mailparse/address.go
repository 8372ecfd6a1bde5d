package mailparse

import (
	"strings"
)

// maxAddresses is how many addresses of a list are read.
const maxAddresses = 1000

// Addresses reads the address lists of fields as mail programs do. It leaves out entries that nobody can read; ok is
// then false. It reads at most max addresses, and at most 64 KiB of a field; cut means that there were more.
func Addresses(values []string, max int) (list []Address, ok, cut bool) {
	return addresses(values, max, MaxField)
}

// addresses is [Addresses] with another limit for the length of a field, in bytes.
func addresses(values []string, max, field int) (list []Address, ok, cut bool) {
	list, ok = []Address{}, true
	for _, v := range values {
		if len(v) > field {
			cut = true
			v = Cut(v, field)
			if i := strings.LastIndexByte(v, ','); i > 0 {
				v = v[:i]
			}
		}
		p := addressParser{in: v, max: max - len(list)}
		p.read()
		list = append(list, p.list...)
		ok = ok && !p.bad
		cut = cut || p.more
	}
	return list, ok, cut
}

// addressParser reads one field from left to right. It never goes back more than a bounded distance.
type addressParser struct {
	in  string
	at  int
	max int

	entry   entry
	list    []Address
	bad     bool // an entry was left out
	more    bool // there are more than max
	noQuote bool // no closing quote follows
	noWord  bool // no encoded word ends from here on
	behind  bool // the entry stands behind an address, without a comma between
}

func (p *addressParser) read() {
	glued := false
	for p.at < len(p.in) && !p.more {
		c := p.in[p.at]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			p.at++
			glued = false
			continue
		case c == '(':
			p.comment()
			continue
		case c == ',' || c == ';':
			p.at++
			p.finish()
			glued, p.behind = false, false
			continue
		case c == ':' && p.group():
			p.at++
			p.entry = entry{}
			glued = false
			continue
		case c == '<':
			p.angle()
			glued = false
			continue
		}
		if p.entry.hasEnd {
			p.finish() // a comma is missing
			p.behind = true
		}
		p.entry.any = true
		if w := p.word(glued); len(p.entry.words) < maxWords {
			p.entry.words = append(p.entry.words, w)
		}
		glued = true
	}
	p.finish()
}

// group reports whether the colon ends the name of a group. In "mailto:a@b" it does not.
func (p *addressParser) group() bool {
	if p.entry.hasEnd || len(p.entry.words) == 0 {
		return len(p.entry.words) == 0
	}
	for _, w := range p.entry.words {
		if !w.quoted && (strings.Contains(w.text, "@") || strings.EqualFold(strings.Trim(w.text, "["), "mailto")) {
			return false
		}
	}
	return true
}

// word reads a quoted string, an encoded word, or other text up to a special character.
func (p *addressParser) word(glued bool) addressWord {
	rest := p.in[p.at:]
	if rest[0] == '"' && !p.noQuote {
		if text, n, ok := quotedString(rest); ok {
			p.at += n
			return addressWord{text, true, glued}
		}
		p.noQuote = true
	}
	if !glued && strings.HasPrefix(rest, "=?") && !p.noWord {
		if w, ok := wordAt(rest); ok {
			p.at += w.size
			return addressWord{rest[:w.size], false, glued}
		}
		p.noWord = !strings.Contains(rest, "?=")
	}
	n := 1
	for n < len(rest) && !strings.ContainsRune(" \t\r\n(),;:<", rune(rest[n])) && (rest[n] != '"' || p.noQuote) {
		n++
	}
	p.at += n
	return addressWord{rest[:n], false, glued}
}

// comment reads a comment with those inside it. One that is not closed ends with the field.
func (p *addressParser) comment() {
	text, n := readComment(p.in[p.at:])
	p.at += n
	if p.entry.comment == "" {
		p.entry.comment = text
	}
}

// angle reads what stands in angle brackets.
func (p *addressParser) angle() {
	if p.entry.hasEnd {
		p.finish() // "<a@x> <b@x>"
	}
	v := strings.TrimLeft(p.in[p.at:], "<")
	p.at = len(p.in) - len(v)
	var out strings.Builder
	route := strings.HasPrefix(strings.TrimSpace(v[:min(len(v), 8)]), "@")
	i := 0
loop:
	for i < len(v) {
		switch c := v[i]; {
		case c == '>':
			break loop
		case c == '<', (c == ',' || c == ';') && !route:
			break loop // the bracket is not closed
		case c == '(':
			_, n := readComment(v[i:])
			i += n
			continue
		case c == '"':
			if _, n, ok := quotedString(v[i:]); ok {
				out.WriteString(v[i : i+n])
				i += n
				continue
			}
			out.WriteByte(c)
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		default:
			out.WriteByte(c)
		}
		i++
	}
	for i < len(v) && v[i] == '>' {
		i++
	}
	p.at += i
	p.entry.angle, p.entry.hasEnd, p.entry.any = out.String(), true, true
}

// finish ends an entry and adds its address.
func (p *addressParser) finish() {
	e := p.entry
	p.entry = entry{}
	if !e.any {
		return
	}
	found := e.addresses()
	if last := len(p.list) - 1; len(found) == 0 && p.behind && last >= 0 && p.list[last].Name == "" {
		p.list[last].Name = e.name(e.words) // "<a@x> Ann"
		return
	}
	p.bad = p.bad || len(found) == 0
	for _, a := range found {
		if len(p.list) == p.max {
			p.more = true
			return
		}
		p.list = append(p.list, a)
	}
}
