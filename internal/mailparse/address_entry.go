package mailparse

import "strings"

// addresses makes the addresses of an entry: one, or several if only white space stands between them. There are none if
// nobody can read it.
func (e *entry) addresses() []Address {
	if e.hasEnd {
		a := Address{Name: e.name(e.words), Address: addrSpec(e.angle)}
		if a == (Address{}) {
			return nil
		}
		return []Address{a}
	}
	words := join(e.words)
	var at []int
	for i, w := range words {
		if !w.quoted && strings.Contains(w.text, "@") {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return nil
	}
	if len(at) < len(words) {
		at = at[len(at)-1:] // the others belong to the name
	}
	var out []Address
	for _, i := range at {
		spec := addrSpec(words[i].text)
		if spec == "" || strings.HasSuffix(spec, "@") {
			continue
		}
		a := Address{Address: spec}
		if len(at) == 1 {
			a.Name = e.name(append(words[:i:i], words[i+1:]...))
		}
		out = append(out, a)
	}
	return out
}

// name is the display name: the words, else the comment.
func (e *entry) name(words []addressWord) string {
	if name := phrase(words); name != "" {
		return name
	}
	return DecodeWords(e.comment)
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
	v = strings.Trim(v, "<>")
	if !strings.Contains(v, "@[") {
		v = strings.Trim(v, "[]") // "[a@x]", which is no literal address
	}
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
