package ingest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/schema"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
)

// intakeMessage is a message for the outbox. If refused is not empty, it is the reason why the message goes to the
// dead-letter subject instead.
type intakeMessage struct {
	msg     jetstream.Msg
	tenant  events.TenantID
	agent   string       // its address, "" for none
	own     events.Event // of an own type, whose data is to be compared with its schema; zero for others
	event   outbox.Prepared
	refused string
	unfit   string // why its data or its type is refused; "" for nothing
	later   bool   // its comparison with a schema is put off: the broker sends it again
	// accepted says that the message is above its tenant's quota, and that its event exists: it comes again.
	accepted bool

	reserved *usage.Reservation // while its transaction runs
}

// amount is what the message uses of its tenant's quota.
func (m *intakeMessage) amount() usage.Amount {
	return usage.Amount{Events: 1, Bytes: int64(len(m.msg.Data()))}
}

// read decodes, validates and encodes the event of a message. A message that is not an event is refused.
func read(msg jetstream.Msg) intakeMessage {
	m := intakeMessage{msg: msg}
	ev, err := decode(msg)
	if err == nil {
		m.tenant, m.agent = ev.TenantID, ev.AgentID
		m.event, err = outbox.Prepare(ev)
		m.event = m.event.Counted().Checked()
		if !ev.Type.Known() {
			m.own = ev
		}
	}
	if err == nil && ev.Type.Known() && msg.Headers().Get(headerValidate) == "true" {
		err = validateData(ev)
	}
	if err != nil {
		m.refused = err.Error()
	}
	return m
}

// headerValidate asks for the validation of the data against the schema of its type. Data of own types is always
// validated.
const headerValidate = "Fanmail-Validate"

// validateData returns an [*events.FieldError] for data that does not fit the schema of
// its type.
func validateData(ev events.Event) error {
	if err := schema.ValidateData(string(ev.Type), ev.Data); err != nil {
		reason := strings.ToValidUTF8(err.Error(), "")
		return &events.FieldError{Field: "data", Reason: "does not fit the schema of " + string(ev.Type) + ": " + reason[:min(len(reason), 300)]}
	}
	return nil
}

// decode decodes the event of a message. Its idempotency key is the body's, else the message's Nats-Msg-Id header, else
// the message's place in the stream.
func decode(msg jetstream.Msg) (events.Event, error) {
	tenant, err := events.ParseIntakeSubject(msg.Subject())
	if err != nil {
		return events.Event{}, &events.FieldError{Field: "subject", Reason: err.Error()}
	}
	if err := stream.NoAnswer(msg.Headers()); err != nil {
		return events.Event{}, err
	}
	ev, err := events.DecodeIntake(tenant, msg.Data())
	if err != nil || ev.IdempotencyKey != "" {
		return ev, err
	}
	if ev.IdempotencyKey = msg.Headers().Get(jetstream.MsgIDHeader); ev.IdempotencyKey == "" {
		ev.IdempotencyKey, err = ownKey(msg)
	}
	return ev, err
}

// ownKey identifies a message of the intake stream. It includes the time, since a
// stream that was lost and created again counts from 1.
func ownKey(msg jetstream.Msg) (string, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return "", fmt.Errorf("not a message of a stream: %w", err)
	}
	return "intake:" + strconv.FormatUint(meta.Sequence.Stream, 10) + ":" + strconv.FormatInt(meta.Timestamp.UnixNano(), 10), nil
}

// settle ends the reservations of the messages; made says which of them became events.
func settle(messages []*intakeMessage, made map[*intakeMessage]bool) {
	for _, m := range messages {
		if m.reserved == nil {
			continue
		}
		var used usage.Amount
		if made[m] {
			used = m.amount()
		}
		m.reserved.Settle(used)
		m.reserved = nil
	}
}
