package mailsearch

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/jsonscan"
)

// Terms say which mails to find. An empty field finds all. Letters of either case are the same.
type Terms struct {
	// From and To are an address, such as "ann@example.com", or a part of one or of a name. A part that begins with "@"
	// is a domain.
	From, To string
	// Subject is a part of the subject.
	Subject string
	// Involves is one whole address, of a sender or a recipient of any kind, or where replies go. See [Whole].
	Involves string
}

// Matcher compares envelopes with terms. The zero value matches all.
type Matcher struct {
	from, to, subject, involves string
}

// New returns a matcher.
func New(t Terms) Matcher {
	m := Matcher{from: fold(t.From), to: fold(t.To), subject: fold(t.Subject)}
	if t.Involves != "" {
		m.involves, _ = Whole(t.Involves)
	}
	return m
}

// IsZero reports whether the matcher matches all.
func (m Matcher) IsZero() bool { return m == Matcher{} }

// The members of a mail's data that hold addresses. Those of "envelope" are "from" and "to" again.
var (
	senders    = map[string]bool{"from": true, "sender": true}
	recipients = map[string]bool{"to": true, "cc": true, "bcc": true, "recipient": true, "recipients": true}
)

// The members of a mail's data, besides senders and recipients, that name whom it involves: where replies go, who
// redirected it, and whom a report is about.
var others = map[string]bool{"reply_to": true, "resent": true, "bounce": true, "complaint": true}

// involving are the members of these, and of the addresses in them.
var involving = []string{"address", "email", "name", "from", "to", "recipient", "recipients"}

// fields are those of a mail's header that name senders or recipients. Some have a member of their own, from which an
// address is left out that no program can read.
var fields = map[string]bool{
	"from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true, "apparently-to": true, "received": true, "x-received": true,
	"x-forwarded-for": true, "x-forwarded-to": true, "x-delivered-to": true, "delivered-to": true, "disposition-notification-to": true, "envelope-to": true, "errors-to": true, "original-recipient": true,
	"resent-bcc": true, "resent-cc": true, "resent-from": true, "resent-reply-to": true, "resent-sender": true, "resent-to": true, "return-path": true,
	"return-receipt-to": true, "x-envelope-from": true, "x-envelope-to": true, "x-failed-recipients": true, "x-original-to": true,
}

// Match reports whether an event fits the terms. agentID is the address of the event's agent, "" for none: it counts
// as a recipient.
func (m Matcher) Match(agentID string, envelope []byte) bool {
	from, subject := m.from == "", m.subject == ""
	to := m.to == "" || named(m.to, agentID)
	involved := m.involves == "" || mentions(agentID, m.involves)
	done := func() bool { return from && to && subject && involved }
	visit := func(key string, value []byte) {
		involved = involved || m.involvedIn(key, value)
		switch {
		case !from && senders[key]:
			from = m.addresses(m.from, value)
		case !to && recipients[key]:
			to = m.addresses(m.to, value)
		case !subject && key == "subject":
			subject = strings.Contains(strings.ToLower(jsonscan.Text(value)), m.subject)
		}
	}
	if done() {
		return true
	}
	jsonscan.Members(data(envelope), func(key string, value []byte) bool {
		if visit(key, value); key == "envelope" {
			jsonscan.Members(value, func(key string, value []byte) bool {
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

// involvedIn reports whether a member of a mail's data names the address of whom is involved.
func (m Matcher) involvedIn(key string, value []byte) bool {
	is := func(s string) bool { return mentions(s, m.involves) }
	if key != "headers" {
		return (senders[key] || recipients[key] || others[key]) && holds(value, is, involving...)
	}
	var header [][]string
	if json.Unmarshal(value, &header) != nil {
		return false
	}
	for _, f := range header {
		if len(f) == 2 && m.MatchField(f[0], f[1]) {
			return true
		}
	}
	return false
}

// MatchField reports whether a field of a mail's header names the address of whom is involved. The value is unfolded.
func (m Matcher) MatchField(name, value string) bool {
	return m.involves != "" && fields[strings.ToLower(name)] && mentions(value, m.involves)
}

// MatchAddress reports whether an address is that of whom is involved.
func (m Matcher) MatchAddress(address string) bool {
	return m.involves != "" && mentions(address, m.involves)
}

// Lacking returns which members of a mail's data lack addresses: those that hold addresses, and that the data's
// "truncated" names.
func Lacking(envelope []byte) (names []string) {
	jsonscan.Members(data(envelope), func(key string, value []byte) bool {
		if key == "truncated" {
			jsonscan.Elements(value, func(element []byte) bool {
				name := jsonscan.Text(element)
				if name == "headers" || name == "envelope" || senders[name] || recipients[name] || others[name] {
					names = append(names, name)
				}
				return true
			})
		}
		return key != "truncated"
	})
	return names
}

// data returns the member "data" of an envelope; nil if there is none.
func data(envelope []byte) (found []byte) {
	jsonscan.Members(envelope, func(key string, value []byte) bool {
		if key == "data" {
			found = value
		}
		return found == nil
	})
	return found
}

// addresses reports whether a value holds an address that the term names.
func (m Matcher) addresses(term string, value []byte) bool {
	return holds(value, func(s string) bool { return named(term, s) }, "address", "email", "name")
}

// holds reports whether a text of a value is what is asked for: the value itself, one of a list, or a member of an object.
func holds(value []byte, is func(string) bool, members ...string) bool {
	var v any
	return json.Unmarshal(value, &v) == nil && anyText(v, is, members)
}

func anyText(v any, is func(string) bool, members []string) bool {
	switch v := v.(type) {
	case string:
		return is(v)
	case []any:
		return slices.ContainsFunc(v, func(each any) bool { return anyText(each, is, members) })
	case map[string]any:
		return slices.ContainsFunc(members, func(key string) bool { return anyText(v[key], is, members) })
	}
	return false
}

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
	jsonscan.Members(data, func(key string, value []byte) bool {
		if key == headerMember {
			id = MessageID(jsonscan.Text(value))
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
