package stream

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

// Event is what a message of MAIL_EVENTS tells of its event beside the
// envelope, which is the message's data.
type Event struct {
	ID             events.ID
	TenantID       events.TenantID
	Type           events.Type
	Seq            int64 // the outbox sequence
	CreatedAt      int64 // Unix microseconds
	AgentID        string
	ConversationID string
	MessageID      string
	Labels         []string
}

// ReadEvent takes a message of MAIL_EVENTS apart. An error says that no relay
// of ours wrote it, and that no turn will mend it.
func ReadEvent(subject string, h nats.Header) (Event, error) {
	var e Event
	rest, ok := strings.CutPrefix(subject, events.EventsPrefix)
	tenant, typ, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return e, fmt.Errorf("subject %q is not mail.events.<tenant>.<type>", subject)
	}
	var err error
	if e.TenantID, err = events.Parse[events.TenantKind](tenant); err != nil {
		return e, fmt.Errorf("subject: %w", err)
	}
	e.Type = events.Type(typ)
	if e.ID, err = events.ParseID(h.Get(HeaderEvent)); err != nil {
		return e, fmt.Errorf("header %s: %w", HeaderEvent, err)
	}
	if e.Seq, err = strconv.ParseInt(h.Get(HeaderSeq), 10, 64); err != nil {
		return e, fmt.Errorf("header %s: %w", HeaderSeq, err)
	}
	if e.CreatedAt, err = strconv.ParseInt(h.Get(HeaderCreatedAt), 10, 64); err != nil {
		return e, fmt.Errorf("header %s: %w", HeaderCreatedAt, err)
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{HeaderAgent, &e.AgentID}, {HeaderConversation, &e.ConversationID}, {HeaderMessage, &e.MessageID}} {
		if *f.to, err = url.PathUnescape(h.Get(f.name)); err != nil {
			return e, fmt.Errorf("header %s: %w", f.name, err)
		}
	}
	for _, l := range h[HeaderLabel] {
		v, err := url.PathUnescape(l)
		if err != nil {
			return e, fmt.Errorf("header %s: %w", HeaderLabel, err)
		}
		e.Labels = append(e.Labels, v)
	}
	return e, nil
}
