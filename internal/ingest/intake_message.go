package ingest

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
)

// intakeMessage is a message for the outbox, or, if refused says why, for the
// dead-letter subject.
type intakeMessage struct {
	msg     jetstream.Msg
	event   events.Event
	refused string
}

// read decodes a message into an event.
func read(msg jetstream.Msg) (events.Event, error) {
	tenant, err := events.ParseIntakeSubject(msg.Subject())
	if err != nil {
		return events.Event{}, &events.FieldError{Field: "subject", Reason: err.Error()}
	}
	ev, err := events.DecodeIntake(tenant, msg.Data())
	if err != nil || ev.IdempotencyKey != "" {
		return ev, err
	}
	if id := msg.Headers().Get(jetstream.MsgIDHeader); id != "" {
		ev.IdempotencyKey = id
		return ev, ev.Validate()
	}
	ev.IdempotencyKey, err = ownKey(msg)
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
