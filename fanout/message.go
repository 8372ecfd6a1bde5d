package fanout

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
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
	traceparent    string // "": the event is not traced, or this process traces nothing
}

// read takes a message of MAIL_EVENTS apart.
func read(msg jetstream.Msg) (event, error) {
	e, err := stream.ReadEvent(msg.Subject(), msg.Headers())
	return event{
		msg: msg, id: e.ID, tenant: e.TenantID, typ: e.Type, seq: e.Seq, createdAt: e.CreatedAt,
		agent: e.AgentID, conversation: e.ConversationID, message: e.MessageID, labels: e.Labels, envelope: msg.Data(),
	}, err
}
