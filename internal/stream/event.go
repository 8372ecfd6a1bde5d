package stream

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

// Header fields of a message of MAIL_EVENTS. Its subject contains the tenant and the type.
// Its data is the envelope.
const (
	// HeaderEvent is the event's id.
	HeaderEvent = "Fanmail-Event"
	// HeaderSeq is the event's sequence in the outbox, in decimal.
	HeaderSeq = "Fanmail-Seq"
	// HeaderCreatedAt is the event's creation time in Unix microseconds.
	HeaderCreatedAt = "Fanmail-Created-At"
	// The other fields are absent if the event has no value. Values are path-escaped,
	// because headers lose spaces at the ends of values.
	HeaderAgent        = "Fanmail-Agent"
	HeaderConversation = "Fanmail-Conversation"
	HeaderMessage      = "Fanmail-Message"
	HeaderLabel        = "Fanmail-Label" // repeated
)

// EncodeEvent returns the message of MAIL_EVENTS for an event. The caller adds the
// message id.
func EncodeEvent(e *events.Record, envelope []byte) *nats.Msg {
	h := nats.Header{
		HeaderEvent:     {e.ID.String()},
		HeaderSeq:       {strconv.FormatInt(e.Seq, 10)},
		HeaderCreatedAt: {strconv.FormatInt(e.CreatedAt.UnixMicro(), 10)},
	}
	for _, f := range optional(e) {
		if *f.value != "" {
			h[f.name] = []string{url.PathEscape(*f.value)}
		}
	}
	for _, label := range e.Labels {
		h[HeaderLabel] = append(h[HeaderLabel], url.PathEscape(label))
	}
	return &nats.Msg{Subject: events.EventSubject(e.TenantID, e.Type), Header: h, Data: envelope}
}

// DecodeEvent decodes subject and header of a message of MAIL_EVENTS. After an error a
// retry is useless: the message is not from a relay of Fanmail.
func DecodeEvent(subject string, h nats.Header) (events.Record, error) {
	var e events.Record
	rest, ok := strings.CutPrefix(subject, events.EventsPrefix)
	tenant, typ, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return e, fmt.Errorf("decode an event message: subject %q is not mail.events.<tenant>.<type>", subject)
	}
	var err error
	if e.TenantID, err = events.Parse[events.TenantKind](tenant); err != nil {
		return e, fmt.Errorf("decode an event message: subject: %w", err)
	}
	e.Type = events.Type(typ)
	if e.ID, err = events.ParseID(h.Get(HeaderEvent)); err != nil {
		return e, badHeader(HeaderEvent, err)
	}
	if e.Seq, err = strconv.ParseInt(h.Get(HeaderSeq), 10, 64); err != nil {
		return e, badHeader(HeaderSeq, err)
	}
	created, err := strconv.ParseInt(h.Get(HeaderCreatedAt), 10, 64)
	if err != nil {
		return e, badHeader(HeaderCreatedAt, err)
	}
	e.CreatedAt = time.UnixMicro(created)
	for _, f := range optional(&e) {
		if *f.value, err = url.PathUnescape(h.Get(f.name)); err != nil {
			return e, badHeader(f.name, err)
		}
	}
	for _, l := range h[HeaderLabel] {
		v, err := url.PathUnescape(l)
		if err != nil {
			return e, badHeader(HeaderLabel, err)
		}
		e.Labels = append(e.Labels, v)
	}
	return e, nil
}

type headerField struct {
	name  string
	value *string
}

// optional returns the event's fields that have a header only if they are set.
func optional(e *events.Record) [3]headerField {
	return [...]headerField{{HeaderAgent, &e.AgentID}, {HeaderConversation, &e.ConversationID}, {HeaderMessage, &e.MessageID}}
}

func badHeader(name string, err error) error {
	return fmt.Errorf("decode an event message: header %s: %w", name, err)
}
