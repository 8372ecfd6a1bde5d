package mailparse

import "strings"

// address makes the address of an entry. ok is false if there is none in it.
func (e *entry) address() (a Address, ok bool) {
	if e.hasEnd {
		name := phrase(e.words)
		if name == "" {
			name = DecodeWords(e.comment)
		}
		a = Address{Name: name, Address: addrSpec(e.angle)}
		return a, a.Address != "" || a.Name != ""
	}
	words := join(e.words)
	at := -1
	for i, w := range words {
		if !w.quoted && strings.Contains(w.text, "@") {
			at = i
		}
	}
	if at < 0 {
		return a, false
	}
	spec := addrSpec(words[at].text)
	if spec == "" || strings.HasSuffix(spec, "@") {
		return a, false
	}
	name := phrase(append(words[:at:at], words[at+1:]...))
	if name == "" {
		name = DecodeWords(e.comment)
	}
	return Address{Name: name, Address: spec}, true
}

// join puts the words of an address together: "a b"@x, and a @ x . example, which RFC 822 allowed.
func join(words []addressWord) []addressWord {
	var out []addressWord
	for _, w := range words {
		n := len(out) - 1
		if n < 0 {
			out = append(out, w)
			continue
		}
		last := out[n]
		domain := !w.quoted && strings.HasPrefix(w.text, "@")
		open := !last.quoted && (strings.HasSuffix(last.text, "@") ||
			strings.Contains(last.text, "@") && (strings.HasSuffix(last.text, ".") || strings.HasPrefix(w.text, ".")))
		switch {
		case domain && last.quoted:
			out[n] = addressWord{text: quote(last.text) + w.text, glued: last.glued}
		case domain || open || w.glued && !last.quoted:
			out[n] = addressWord{text: last.text + w.text, glued: last.glued}
		default:
			out = append(out, w)
		}
	}
	return out
}

// phrase is the display name of words.
func phrase(words []addressWord) string {
	var out strings.Builder
	for i, w := range words {
		if i > 0 && !w.glued {
			out.WriteByte(' ')
		}
		out.WriteString(w.text)
	}
	return strings.TrimSpace(DecodeWords(out.String()))
}

// addrSpec normalises an address: without a route, a "mailto:", or quotes that it does not need.
func addrSpec(v string) string {
	v = strings.TrimSpace(v)
	if strings.HasPrefix(v, "@") {
		if _, after, ok := strings.Cut(v, ":"); ok {
			v = after // a source route: RFC 5322, 4.4
		}
	}
	v = strings.Trim(v, "<>[]")
	if len(v) >= len("mailto:") && strings.EqualFold(v[:len("mailto:")], "mailto:") {
		v = v[len("mailto:"):]
	}
	if len(v) > 2 && v[0] == '\'' && v[len(v)-1] == '\'' {
		v = v[1 : len(v)-1]
	}
	v = strings.TrimRight(v, ".,;:")
	if strings.HasPrefix(v, `"`) {
		if local, n, ok := quotedString(v); ok && strings.HasPrefix(v[n:], "@") {
			v = quote(local) + v[n:]
		}
	}
	return Text(v)
}

// quote quotes a local part, if it needs it.
func quote(local string) string {
	atom := local != "" && !strings.HasPrefix(local, ".") && !strings.HasSuffix(local, ".") && !strings.Contains(local, "..")
	for _, c := range []byte(local) {
		if c <= ' ' || strings.IndexByte("()<>[]:;@\\,\"", c) >= 0 || c == 0x7f {
			atom = false
		}
	}
	if atom {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

// Address is one address of a header field, decoded.
type Address struct {
	Name    string // "" for none
	Address string // "" where the field has a name alone: "MAILER-DAEMON <>"
}

// entry collects what belongs to one address.
type entry struct {
	words   []addressWord
	comment string
	angle   string
	hasEnd  bool // there was an address in angle brackets
	any     bool
}

// maxWords is how many words of one entry are read.
const maxWords = 200

// addressWord is a word of a phrase or of an address without angle brackets.
type addressWord struct {
	text   string
	quoted bool
	glued  bool // no white space stands before it
}
