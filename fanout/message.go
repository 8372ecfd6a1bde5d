package fanout

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/stream"
)

// event is an event message, read.
type event struct {
	msg            jetstream.Msg
	id             events.ID
	tenant         events.TenantID
	typ            events.Type
	seq, createdAt int64 // outbox sequence; Unix microseconds
	agent          string
	conversation   string
	message        string
	labels         []string
	envelope       []byte
}

// read takes a message of MAIL_EVENTS apart. An error says that no relay of
// ours wrote it, and that no turn will mend it.
func read(msg jetstream.Msg) (event, error) {
	e := event{msg: msg, envelope: msg.Data()}
	rest, ok := strings.CutPrefix(msg.Subject(), events.EventsPrefix)
	tenant, typ, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return e, fmt.Errorf("subject %q is not mail.events.<tenant>.<type>", msg.Subject())
	}
	var err error
	if e.tenant, err = events.Parse[events.TenantKind](tenant); err != nil {
		return e, fmt.Errorf("subject: %w", err)
	}
	e.typ = events.Type(typ)
	h := msg.Headers()
	if e.id, err = events.ParseID(h.Get(stream.HeaderEvent)); err != nil {
		return e, fmt.Errorf("header %s: %w", stream.HeaderEvent, err)
	}
	if e.seq, err = strconv.ParseInt(h.Get(stream.HeaderSeq), 10, 64); err != nil {
		return e, fmt.Errorf("header %s: %w", stream.HeaderSeq, err)
	}
	if e.createdAt, err = strconv.ParseInt(h.Get(stream.HeaderCreatedAt), 10, 64); err != nil {
		return e, fmt.Errorf("header %s: %w", stream.HeaderCreatedAt, err)
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{stream.HeaderAgent, &e.agent}, {stream.HeaderConversation, &e.conversation}, {stream.HeaderMessage, &e.message}} {
		if *f.to, err = url.PathUnescape(h.Get(f.name)); err != nil {
			return e, fmt.Errorf("header %s: %w", f.name, err)
		}
	}
	for _, l := range h[stream.HeaderLabel] {
		v, err := url.PathUnescape(l)
		if err != nil {
			return e, fmt.Errorf("header %s: %w", stream.HeaderLabel, err)
		}
		e.labels = append(e.labels, v)
	}
	return e, nil
}
