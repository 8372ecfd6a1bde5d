package mailsearch

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Terms say which mails to find. An empty field finds all. Letters of either case are the same.
type Terms struct {
	// From and To are an address, such as "ann@example.com", or a part of one or of a name. A part that begins with "@"
	// is a domain.
	From, To string
	// Subject is a part of the subject.
	Subject string
}

// Matcher compares envelopes with terms. The zero value matches all.
type Matcher struct{ from, to, subject string }

// New returns a matcher.
func New(t Terms) Matcher {
	return Matcher{from: fold(t.From), to: fold(t.To), subject: fold(t.Subject)}
}

// IsZero reports whether the matcher matches all.
func (m Matcher) IsZero() bool { return m == Matcher{} }

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// The members of a mail's data that hold addresses. Those of "envelope" are "from" and "to" again.
var (
	senders    = map[string]bool{"from": true, "sender": true}
	recipients = map[string]bool{"to": true, "cc": true, "bcc": true, "recipient": true, "recipients": true}
)

// Match reports whether an event fits the terms. agentID is the address of the event's agent, "" for none: it counts
// as a recipient.
func (m Matcher) Match(agentID string, envelope []byte) bool {
	from, subject := m.from == "", m.subject == ""
	to := m.to == "" || named(m.to, agentID)
	done := func() bool { return from && to && subject }
	visit := func(key string, value []byte) {
		switch {
		case !from && senders[key]:
			from = m.addresses(m.from, value)
		case !to && recipients[key]:
			to = m.addresses(m.to, value)
		case !subject && key == "subject":
			subject = strings.Contains(strings.ToLower(text(value)), m.subject)
		}
	}
	if done() {
		return true
	}
	members(data(envelope), func(key string, value []byte) bool {
		if visit(key, value); key == "envelope" {
			members(value, func(key string, value []byte) bool {
				if key != "subject" {
					visit(key, value)
				}
				return !done()
			})
		}
		return !done()
	})
	return done()
}

// data returns the member "data" of an envelope; nil if there is none.
func data(envelope []byte) (found []byte) {
	members(envelope, func(key string, value []byte) bool {
		if key == "data" {
			found = value
		}
		return found == nil
	})
	return found
}

// addresses reports whether a value holds an address that the term names.
func (m Matcher) addresses(term string, value []byte) bool {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return false
	}
	return holds(term, v)
}

func holds(term string, v any) bool {
	switch v := v.(type) {
	case string:
		return named(term, v)
	case []any:
		for _, each := range v {
			if holds(term, each) {
				return true
			}
		}
	case map[string]any:
		for _, key := range []string{"address", "email", "name"} {
			if s, ok := v[key].(string); ok && named(term, s) {
				return true
			}
		}
	}
	return false
}

// separators stand between addresses, and between a name and its address.
const separators = " ,;<>\"()\t\r\n"

// named reports whether a text names the folded term: a whole address, if the term is one, else a part of the text.
func named(term, s string) bool {
	s = strings.ToLower(s)
	if strings.IndexByte(term, '@') <= 0 && !strings.HasPrefix(term, "@") {
		return strings.Contains(s, term)
	}
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if word == term || term[0] == '@' && strings.HasSuffix(word, term) {
			return true
		}
	}
	return false
}

// headerMember is the member of an event's data with the Message-ID of the mail.
const headerMember = "message_id_header"

var headerMark = []byte(`"` + headerMember + `"`)

// HeaderOf returns the Message-ID that an event's data names, without angle brackets; "" for none.
func HeaderOf(data []byte) (id string) {
	if !bytes.Contains(data, headerMark) { // cheaper than to go through all members
		return ""
	}
	members(data, func(key string, value []byte) bool {
		if key == headerMember {
			id = MessageID(text(value))
		}
		return id == ""
	})
	return id
}

// MessageID returns a Message-ID without white space around it and without its angle brackets.
func MessageID(s string) string {
	s = strings.TrimSpace(s)
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		s, _, _ = strings.Cut(inner, ">")
	}
	return strings.TrimSpace(s)
}
