package ingest

import (
	"strings"

	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// readThread reads which mails this one answers.
func (p *parsed) readThread() {
	first := firstID(p.header.Get("In-Reply-To"))
	p.inReplyTo = p.limit("in_reply_to", mailparse.Text(first), maxIDBytes)
	field := p.header.Get("References")
	if !p.full {
		field = mailparse.Cut(field, mailparse.MaxField)
	}
	list := ids(field)
	if len(list) > maxReferences && !p.full {
		// The root identifies the thread, the newest ids the position in it.
		p.cut["references"] = true
		list = append(list[:1], list[len(list)-maxReferences+1:]...)
	}
	for _, id := range list {
		p.references = append(p.references, p.limit("references", mailparse.Text(id), maxIDBytes))
	}
}

// ids returns the Message-IDs of a field, or its words if none has brackets.
func ids(v string) []string {
	var out []string
	rest := v
	for {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		id, next, ok := strings.Cut(after, ">")
		if !ok {
			break
		}
		if id = strings.TrimSpace(id); id != "" {
			out = append(out, id)
		}
		rest = next
	}
	if len(out) == 0 {
		for _, w := range strings.Fields(v) {
			if w = strings.Trim(w, "<>"); w != "" {
				out = append(out, w)
			}
		}
	}
	return out
}

// firstID returns the first <…> of a field without its brackets, or its first word
// if there are none.
func firstID(v string) string {
	if _, after, ok := strings.Cut(v, "<"); ok {
		if id, _, ok := strings.Cut(after, ">"); ok {
			return strings.TrimSpace(id)
		}
	}
	if words := strings.Fields(v); len(words) > 0 {
		return strings.Trim(words[0], "<>")
	}
	return ""
}
