package ingest

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
)

// dataBytes is the most that an event's data may have: an envelope's limit less the
// envelope's own fields.
const dataBytes = events.MaxEnvelopeBytes - 512

// fields are the names that "truncated" may hold, in the order of the data.
var fields = []string{
	"envelope", "from", "to", "cc", "reply_to", "sender", "resent", "subject", "message_id_header", "in_reply_to", "references",
	"text", "html", "reply_text", "reply_html", "list", "bounce", "complaint", "calendar", "headers", "attachments", "authentication", "milters",
}

// Limits of single values, in bytes before encoding.
const (
	maxSubjectBytes = 4 << 10
	maxIDBytes      = 998 // a line of RFC 5322
	maxFieldBytes   = 8 << 10
	maxNameBytes    = 1 << 10
)

// Limits of lists, in entries.
const (
	maxAddresses  = 1000
	maxHeaders    = 1000
	maxReferences = 100
)

// encode returns the JSON of the data, within [dataBytes]. A field that does not fit
// is cut and named in Truncated. Long fields share the room: each gets what it needs,
// up to an even share of what is left.
func encode(r *email.Received) json.RawMessage {
	c := *r
	c.TruncatedURLs = fieldURLs(r.RawURL, c.Truncated)
	if b := appendJSON(c); len(b) <= dataBytes {
		return b
	}
	parts := variable(&c)
	sizes := make([]int, len(parts))
	for i, l := range parts {
		sizes[i] = l.size
	}
	// The names and the addresses of the fields that are cut need room too.
	named := c.Truncated
	var rooms []int
	for more := true; more; {
		rooms, more = share(dataBytes-fixedSize(c, named), sizes), false
		for i, l := range parts {
			if l.size > rooms[i] && !slices.Contains(named, l.name) {
				named, more = append(slices.Clip(named), l.name), true
			}
		}
	}
	for i, l := range parts {
		if l.cut(rooms[i]) && !slices.Contains(c.Truncated, l.name) {
			c.Truncated = append(slices.Clone(c.Truncated), l.name)
		}
	}
	c.TruncatedURLs = fieldURLs(r.RawURL, c.Truncated)
	return appendJSON(c)
}

// room is a field of variable size. cut shortens it to so many bytes of JSON, and reports whether it did.
type room struct {
	name string
	size int
	cut  func(room int) bool
}

// variable lists the fields of c that may be cut. What they point to is left alone: others share it.
func variable(c *email.Received) []room {
	list := []room{
		{"envelope", encodedSize(c.Envelope.To), func(n int) bool { return cutList(&c.Envelope.To, n) }},
		{"from", encodedSize(c.From), func(n int) bool { return cutList(&c.From, n) }},
		{"to", encodedSize(c.To), func(n int) bool { return cutList(&c.To, n) }},
		{"cc", encodedSize(c.Cc), func(n int) bool { return cutList(&c.Cc, n) }},
		{"reply_to", encodedSize(c.ReplyTo), func(n int) bool { return cutList(&c.ReplyTo, n) }},
		{"references", encodedSize(c.References), func(n int) bool { return cutList(&c.References, n) }},
		{"headers", encodedSize(c.Headers), func(n int) bool { return cutList(&c.Headers, n) }},
		{"attachments", encodedSize(c.Attachments), func(n int) bool { return cutList(&c.Attachments, n) }},
		{"milters", encodedSize(c.Milters), func(n int) bool { return cutList(&c.Milters, n) }},
		{"text", encodedSize(c.Text), func(n int) bool { return cutString(&c.Text, n) }},
		{"html", encodedSize(c.HTML), func(n int) bool { return cutString(&c.HTML, n) }},
		{"sender", encodedSize(c.Sender), func(n int) bool { return leaveOut(&c.Sender, n) }},
		{"resent", encodedSize(c.Resent), func(n int) bool { return leaveOut(&c.Resent, n) }},
		{"list", encodedSize(c.List), func(n int) bool { return leaveOut(&c.List, n) }},
		{"complaint", encodedSize(c.Complaint), func(n int) bool { return leaveOut(&c.Complaint, n) }},
		{"calendar", encodedSize(c.Calendar), func(n int) bool { return leaveOut(&c.Calendar, n) }},
		{"bounce", encodedSize(c.Bounce), func(n int) bool { return cutBounce(&c.Bounce, n) }},
	}
	for _, r := range []struct {
		name  string
		reply **string
	}{{"reply_text", &c.ReplyText}, {"reply_html", &c.ReplyHTML}} {
		if *r.reply != nil {
			own := **r.reply
			*r.reply = &own
			list = append(list, room{r.name, encodedSize(own), func(n int) bool { return cutString(&own, n) }})
		}
	}
	return list
}

// fixedSize is the size of the data without the variable fields, if those named are cut.
func fixedSize(c email.Received, named []string) int {
	c.Envelope.To, c.From, c.To, c.Cc, c.ReplyTo = nil, nil, nil, nil, nil
	c.Milters = nil
	c.Headers, c.Attachments, c.Text, c.HTML, c.References, c.ReplyText, c.ReplyHTML = nil, nil, "", "", nil, nil, nil
	c.Sender, c.Resent, c.List, c.Bounce, c.Complaint, c.Calendar = nil, nil, nil, nil, nil, nil
	c.Truncated, c.TruncatedURLs = named, fieldURLs(c.RawURL, named)
	return encodedSize(c)
}

// leaveOut makes a field null if its JSON has over room bytes, and reports whether it did.
func leaveOut[T any](field **T, room int) bool {
	if *field == nil || encodedSize(*field) <= room {
		return false
	}
	*field = nil
	return true
}

// cutBounce drops the last recipients of a report so that its JSON has at most room bytes, and reports whether it did.
func cutBounce(field **email.Bounce, room int) bool {
	if *field == nil || encodedSize(*field) <= room {
		return false
	}
	c := **field
	c.Recipients = nil
	rest := room - encodedSize(c) + len("null")
	c.Recipients = (*field).Recipients
	cutList(&c.Recipients, max(rest, len("[]")))
	*field = &c
	leaveOut(field, room)
	return true
}

// appendJSON encodes JSON without the escapes that only HTML pages need: they would
// enlarge a mail's HTML.
func appendJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // structs of strings, numbers and lists: cannot fail
	return bytes.TrimRight(b.Bytes(), "\n")
}

func encodedSize(v any) int { return len(appendJSON(v)) }

// share divides room among the sizes: none gets more than it needs, and none that
// needs more gets less than another (max-min fairness).
func share(room int, sizes []int) []int {
	order := make([]int, len(sizes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return sizes[a] - sizes[b] })
	out := make([]int, len(sizes))
	for done, i := range order {
		out[i] = max(0, min(sizes[i], room/(len(order)-done)))
		room -= out[i]
	}
	return out
}

// cutList drops the end of a list so that its JSON has at most room bytes, and
// reports whether it did.
func cutList[T any](list *[]T, room int) bool {
	size := len("[]")
	for i, v := range *list {
		size += encodedSize(v) + len(",")
		if size > room+len(",") {
			*list = slices.Clip((*list)[:i])
			return true
		}
	}
	return false
}

// cutString drops the end of a string so that its JSON has at most room bytes,
// and reports whether it did.
func cutString(s *string, room int) bool {
	size := len(`""`)
	for i, c := range *s {
		switch {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f':
			size += 2
		case c < ' ' || c == '\u2028' || c == '\u2029':
			size += 6
		default:
			size += utf8.RuneLen(c)
		}
		if size > room {
			*s = (*s)[:i]
			return true
		}
	}
	return false
}
