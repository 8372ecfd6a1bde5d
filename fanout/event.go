package fanout

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
	"github.com/fanmail-dev/fanmail/outbox"
)

// event is an event to fan out.
type event struct {
	events.Record
	envelope []byte
	// parent is the traceparent that came with the event, "" for none.
	parent string
	// traceparent names the span of the fan-out; "" if it is not traced.
	traceparent string
	msg         jetstream.Msg // nil if the event was read from the outbox
}

// fromMessage reads a message of MAIL_EVENTS.
func fromMessage(msg jetstream.Msg) (event, error) {
	if err := stream.NoAnswer(msg.Headers()); err != nil {
		return event{}, err
	}
	rec, err := stream.DecodeEvent(msg.Subject(), msg.Headers())
	return event{Record: rec, envelope: msg.Data(), parent: msg.Headers().Get(tracecontext.Header), msg: msg}, err
}

// fromOutbox makes an event of an outbox entry.
func fromOutbox(e *outbox.Entry) event {
	return event{Record: e.Record, envelope: e.Envelope, parent: e.Traceparent}
}

// ack tells the broker that the event is done.
func (e *event) ack() {
	if e.msg != nil {
		_ = e.msg.Ack()
	}
}

// nak asks the broker for the event again, a second later.
func (e *event) nak() {
	if e.msg != nil {
		_ = e.msg.NakWithDelay(time.Second)
	}
}
