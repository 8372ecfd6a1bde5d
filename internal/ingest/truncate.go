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
	"envelope", "from", "to", "cc", "reply_to", "subject", "message_id_header", "in_reply_to", "references",
	"text", "html", "reply_text", "headers", "attachments", "authentication",
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
	if b := appendJSON(r); len(b) <= dataBytes {
		return b
	}
	c := *r
	type room struct {
		name string
		size int
		cut  func(room int) bool
	}
	lists := []room{
		{"envelope", encodedSize(c.Envelope.To), func(n int) bool { return cutList(&c.Envelope.To, n) }},
		{"from", encodedSize(c.From), func(n int) bool { return cutList(&c.From, n) }},
		{"to", encodedSize(c.To), func(n int) bool { return cutList(&c.To, n) }},
		{"cc", encodedSize(c.Cc), func(n int) bool { return cutList(&c.Cc, n) }},
		{"reply_to", encodedSize(c.ReplyTo), func(n int) bool { return cutList(&c.ReplyTo, n) }},
		{"references", encodedSize(c.References), func(n int) bool { return cutList(&c.References, n) }},
		{"headers", encodedSize(c.Headers), func(n int) bool { return cutList(&c.Headers, n) }},
		{"attachments", encodedSize(c.Attachments), func(n int) bool { return cutList(&c.Attachments, n) }},
		{"text", encodedSize(c.Text), func(n int) bool { return cutString(&c.Text, n) }},
		{"html", encodedSize(c.HTML), func(n int) bool { return cutString(&c.HTML, n) }},
	}
	if c.ReplyText != nil {
		reply := *c.ReplyText
		c.ReplyText = &reply // the original is left alone
		lists = append(lists, room{"reply_text", encodedSize(reply), func(n int) bool { return cutString(&reply, n) }})
	}
	bare := c
	bare.Envelope.To, bare.From, bare.To, bare.Cc, bare.ReplyTo = nil, nil, nil, nil, nil
	bare.Headers, bare.Attachments, bare.Text, bare.HTML, bare.References, bare.ReplyText = nil, nil, "", "", nil, nil
	bare.Truncated = fields
	sizes := make([]int, len(lists))
	for i := range lists {
		sizes[i] = lists[i].size
	}
	rooms := share(dataBytes-encodedSize(bare), sizes)
	for i, l := range lists {
		if l.cut(rooms[i]) && !slices.Contains(c.Truncated, l.name) {
			c.Truncated = append(slices.Clone(c.Truncated), l.name)
		}
	}
	return appendJSON(c)
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
