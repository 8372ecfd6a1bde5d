package mailparse

import (
	"slices"
	"strings"
)

// bodies are the parts of a mail that are shown, in order, and those that are not. The rules are those of JMAP (RFC
// 8621, 4.1.4), which describe what mail programs do.
type bodies struct {
	text, html  []*part
	attachments []*part
}

// selection is where the parts of a branch go. Inside an alternative, a branch fills one of both lists.
type selection struct{ text, html bool }

// classify walks a structure of bounded depth.
func classify(root *part) *bodies {
	b := &bodies{}
	b.walk([]*part{root}, "mixed", "", false, &selection{true, true})
	return b
}

// walk sorts the parts of a multipart of the kind. start is the Content-ID of the part that a related multipart shows.
func (b *bodies) walk(parts []*part, kind, start string, alternative bool, sel *selection) {
	texts, htmls := len(b.text), len(b.html)
	first := 0
	if kind == "related" {
		first = relatedRoot(parts, start)
	}
	for i, p := range parts {
		if p.multipart() && len(p.children) > 0 {
			sub := strings.TrimPrefix(p.kind.value, "multipart/")
			inner := *sel
			b.walk(p.children, sub, p.kind.params["start"], alternative || sub == "alternative", &inner)
			continue
		}
		shown := p.shown(kind, i == first)
		switch {
		case !shown:
			b.attachments = append(b.attachments, p)
			continue
		case kind == "alternative":
			switch {
			case p.isHTML():
				b.html = append(b.html, p)
			case !sel.text && sel.html:
				b.attachments = append(b.attachments, p)
			default:
				b.text = append(b.text, p)
			}
			continue
		case alternative && p.isHTML():
			sel.text = false
		case alternative:
			sel.html = false
		}
		if sel.text {
			b.text = append(b.text, p)
		}
		if sel.html {
			b.html = append(b.html, p)
		}
	}
	if kind != "alternative" || !sel.text || !sel.html {
		return
	}
	switch newText, newHTML := b.text[texts:], b.html[htmls:]; {
	case len(newText) == 0:
		b.text = append(b.text, newHTML...)
	case len(newHTML) == 0:
		b.html = append(b.html, newText...)
	}
}

func (p *part) isHTML() bool { return p.kind.value == "text/html" }

// shown reports whether a part without parts is shown in the mail's text. first is the part that its multipart begins
// with, or is about.
func (p *part) shown(kind string, first bool) bool {
	text := p.kind.value == "text/plain" || p.isHTML() || p.multipart()
	switch {
	case !text || p.message || p.disposition.value == "attachment":
		return false
	case !p.typed && p.name() != "":
		return false // a file of unknown type
	case first || kind == "alternative":
		return true
	}
	return kind != "related" && p.name() == ""
}

// relatedRoot is the index of the part that the others of a related multipart belong to.
func relatedRoot(parts []*part, start string) int {
	if start != "" {
		id := func(p *part) bool { return bareID(p.header.Get("Content-ID")) == bareID(start) }
		if i := slices.IndexFunc(parts, id); i >= 0 {
			return i
		}
	}
	body := func(p *part) bool { return p.isHTML() || p.multipart() && len(p.children) > 0 }
	if first := parts[0]; body(first) || first.kind.value == "text/plain" && first.name() == "" {
		return 0
	}
	return max(0, slices.IndexFunc(parts, body))
}

// name is the file name of a part, "" for none.
func (p *part) name() string {
	for _, n := range []string{p.disposition.params["filename"], p.kind.params["name"], p.disposition.params["name"], p.kind.params["filename"]} {
		if n = strings.TrimSpace(n); n != "" {
			return n
		}
	}
	return ""
}

// bareID is an id without white space and angle brackets.
func bareID(v string) string { return strings.Trim(strings.TrimSpace(v), "<> \t") }
