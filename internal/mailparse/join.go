package mailparse

import (
	"html"
	"strings"
)

// joiner joins the bodies of a mail.
type joiner struct {
	b         *budget
	texts     map[*part]string // the decoded bodies
	converted map[*part]string // HTML that was made to text
}

// plain is a body as text.
func (j *joiner) plain(p *part) string {
	if !p.isHTML() {
		return j.texts[p]
	}
	s, ok := j.converted[p]
	if !ok {
		s = htmlToText(j.b, j.texts[p])
		j.converted[p] = s
	}
	return s
}

// html joins the bodies of a mail that has HTML, in order. It leaves out text that says the same as HTML beside it, as
// some programs write it instead of an alternative.
func (j *joiner) html(parts []*part) string {
	some, mixed := false, false
	for _, p := range parts {
		some = some || p.isHTML()
		mixed = mixed || !p.isHTML()
	}
	if !some {
		return ""
	}
	said := map[string]bool{}
	for _, p := range parts {
		if mixed && p.isHTML() {
			said[words(j.plain(p))] = true
		}
	}
	var out strings.Builder
	for _, p := range parts {
		s := j.texts[p]
		if strings.TrimSpace(s) == "" || !p.isHTML() && said[words(s)] {
			continue
		}
		if !p.isHTML() {
			s = `<div style="white-space: pre-wrap">` + html.EscapeString(strings.TrimSpace(s)) + "</div>\n"
		}
		writeJoined(&out, s)
	}
	return out.String()
}

// words is a text without its layout.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

func writeJoined(out *strings.Builder, s string) {
	if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n") {
		out.WriteByte('\n')
	}
	out.WriteString(s)
}

// text joins the bodies, in order. HTML becomes text where it has no text beside it. fromHTML says that it did.
func (j *joiner) text(body *bodies) (text string, fromHTML bool) {
	parts := body.text
	blank := true
	said := map[string]bool{}
	for _, p := range parts {
		if !p.isHTML() {
			said[words(j.texts[p])] = true
		}
		blank = blank && strings.TrimSpace(j.texts[p]) == ""
	}
	if blank && len(body.html) > 0 {
		parts = body.html
	}
	var out strings.Builder
	for _, p := range parts {
		s := j.plain(p)
		if p.isHTML() {
			if s == "" || said[words(s)] {
				continue
			}
			fromHTML = true
		}
		if s != "" {
			writeJoined(&out, s)
		}
	}
	return out.String(), fromHTML
}
