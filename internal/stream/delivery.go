package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

// DeliveryMessage is what travels through DELIVERIES: newly born deliveries of
// one partition, with the events that they are of. A batch shares one message,
// and an event's envelope stands in it once.
type DeliveryMessage struct {
	// Lease is when the rows' first lease ends, Unix microseconds of the
	// database's clock.
	Lease      int64
	Events     []MessageEvent
	Deliveries []MessageDelivery
}

// MessageEvent is an event of a [DeliveryMessage].
type MessageEvent struct {
	ID        events.ID
	CreatedAt int64 // Unix microseconds
	Seq       int64
	Type      events.Type
	// Envelope is empty where it is too large to travel along; it is in the
	// table.
	Envelope []byte
}

// MessageDelivery is a delivery of a [DeliveryMessage]. It was created when
// its event was.
type MessageDelivery struct {
	ID        events.DeliveryID
	WebhookID events.WebhookID
	Event     int // index into Events
}

const (
	deliveryVersion = 1
	// InlineEnvelope is the largest envelope that travels in a message.
	InlineEnvelope = 32 << 10
	// MessageBytes is the size past which a batch goes on in a next message.
	MessageBytes = 128 << 10
)

// AppendTo encodes the message: a version byte, then counts and numbers as
// varints, ids as 16 bytes, texts with their length before them.
func (m *DeliveryMessage) AppendTo(b []byte) []byte {
	b = append(b, deliveryVersion)
	b = binary.AppendVarint(b, m.Lease)
	b = binary.AppendUvarint(b, uint64(len(m.Events)))
	for i := range m.Events {
		e := &m.Events[i]
		b = append(b, e.ID[:]...)
		b = binary.AppendVarint(b, e.CreatedAt)
		b = binary.AppendVarint(b, e.Seq)
		b = binary.AppendUvarint(b, uint64(len(e.Type)))
		b = append(b, e.Type...)
		b = binary.AppendUvarint(b, uint64(len(e.Envelope)))
		b = append(b, e.Envelope...)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Deliveries)))
	for i := range m.Deliveries {
		d := &m.Deliveries[i]
		b = append(b, d.ID[:]...)
		b = append(b, d.WebhookID[:]...)
		b = binary.AppendUvarint(b, uint64(d.Event)) //nolint:gosec // an index
	}
	return b
}

// HeaderTrace is the header of delivery messages whose values are "index
// traceparent", one for each event that is traced.
const HeaderTrace = "Fanmail-Trace"

// AddTraceparent notes the trace of the message's event of that index.
func AddTraceparent(m *nats.Msg, event int, traceparent string) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header.Add(HeaderTrace, strconv.Itoa(event)+" "+traceparent)
}

// Traceparents reads what [AddTraceparent] has noted into n texts, one for each
// event. It gives nil where nothing is noted, and leaves out what it can't read.
func Traceparents(h nats.Header, n int) []string {
	noted := h[HeaderTrace]
	if len(noted) == 0 {
		return nil
	}
	all := make([]string, n)
	for _, v := range noted {
		index, traceparent, _ := strings.Cut(v, " ")
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < n {
			all[i] = traceparent
		}
	}
	return all
}

// ErrDeliveryMessage is wrapped by every error of [DecodeDelivery].
var ErrDeliveryMessage = errors.New("not a delivery message")

// DecodeDelivery reads a message. The envelopes share b's memory. A message of
// another version is an error: its rows' leases run out and the sweep sends
// them again.
func DecodeDelivery(b []byte) (*DeliveryMessage, error) {
	r := reader{b: b}
	if v := r.bytes(1); v == nil || v[0] != deliveryVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrDeliveryMessage)
	}
	m := &DeliveryMessage{Lease: r.varint()}
	n := r.count(20)
	m.Events = make([]MessageEvent, n)
	for i := range m.Events {
		e := &m.Events[i]
		copy(e.ID[:], r.bytes(16))
		e.CreatedAt, e.Seq = r.varint(), r.varint()
		e.Type = events.Type(r.bytes(r.count(1)))
		e.Envelope = r.bytes(r.count(1))
	}
	n = r.count(33)
	m.Deliveries = make([]MessageDelivery, n)
	for i := range m.Deliveries {
		d := &m.Deliveries[i]
		copy(d.ID[:], r.bytes(16))
		copy(d.WebhookID[:], r.bytes(16))
		d.Event = int(r.uvarint()) //nolint:gosec // checked next
		if d.Event < 0 || d.Event >= len(m.Events) {
			r.failed = true
		}
	}
	if r.failed || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: cut or malformed", ErrDeliveryMessage)
	}
	return m, nil
}

// reader reads from b until something is amiss; from then on it gives zeros.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) bytes(n int) []byte {
	if r.failed || n < 0 || n > len(r.b) {
		r.failed = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things that take at least size bytes each, so that
// a malformed message can't ask for more memory than it has bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if r.failed || n > uint64(len(r.b)/size) { //nolint:gosec // size is positive
		r.failed = true
		return 0
	}
	return int(n) //nolint:gosec // at most len(b)
}
