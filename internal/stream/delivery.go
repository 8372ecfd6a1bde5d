package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

// DeliveryMessage is a message of DELIVERIES: new deliveries of one partition, or of one
// webhook, and their events. It contains each event's envelope once.
type DeliveryMessage struct {
	// Lease is the end of the rows' first lease, in Unix microseconds of the database's
	// clock.
	Lease      int64
	Events     []MessageEvent
	Deliveries []MessageDelivery
}

// MessageEvent is an event of a [DeliveryMessage].
type MessageEvent struct {
	ID        events.ID
	CreatedAt time.Time // to the microsecond
	// Envelope is empty if it is over [InlineEnvelope]; the receiver reads it from
	// the event log.
	Envelope []byte
}

// MessageDelivery is a delivery of a [DeliveryMessage]. Its creation time is that
// of its event.
type MessageDelivery struct {
	ID        events.DeliveryID
	WebhookID events.WebhookID
	Event     int // index into Events
}

const (
	deliveryVersion = 2
	// InlineEnvelope is the largest envelope in a message, in bytes.
	InlineEnvelope = 32 << 10
	// MessageBytes is the size from which a batch is split into several messages.
	MessageBytes = 128 << 10
)

// AppendTo appends the encoded message to b: a version byte, then counts and
// numbers as varints, ids as 16 bytes, and each text after its length.
func (m *DeliveryMessage) AppendTo(b []byte) []byte {
	b = append(b, deliveryVersion)
	b = binary.AppendVarint(b, m.Lease)
	b = binary.AppendUvarint(b, uint64(len(m.Events)))
	for i := range m.Events {
		e := &m.Events[i]
		b = append(b, e.ID[:]...)
		b = binary.AppendVarint(b, e.CreatedAt.UnixMicro())
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

// HeaderDelivery is a header of messages with deliveries of one webhook: the ids of the
// deliveries. [HeaderEvent] has those of their events, in the same order. They are for
// people and programs that look at the stream.
const HeaderDelivery = "Fanmail-Delivery"

// AddIDs names a delivery and its event in the headers.
func AddIDs(m *nats.Msg, delivery events.DeliveryID, event events.ID) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header.Add(HeaderDelivery, delivery.String())
	m.Header.Add(HeaderEvent, event.String())
}

// HeaderTrace is the header of delivery messages that carries traces. Each value is
// "index traceparent", for one traced event.
const HeaderTrace = "Fanmail-Trace"

// AddTraceparent adds the trace of the event with the index.
func AddTraceparent(m *nats.Msg, event int, traceparent string) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header.Add(HeaderTrace, strconv.Itoa(event)+" "+traceparent)
}

// Traceparents returns the traces of [AddTraceparent]: n texts, one for each event, empty
// for an event without a trace. It returns nil if no event has one, and skips malformed
// values.
func Traceparents(h nats.Header, n int) []string {
	values := h[HeaderTrace]
	if len(values) == 0 {
		return nil
	}
	all := make([]string, n)
	for _, v := range values {
		index, traceparent, _ := strings.Cut(v, " ")
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < n {
			all[i] = traceparent
		}
	}
	return all
}

// ErrDeliveryMessage is wrapped by every error of [DecodeDelivery].
var ErrDeliveryMessage = errors.New("not a delivery message")

// DecodeDelivery decodes a message. The envelopes share b's memory. A message of another
// version is an error. Its rows are not lost: their leases end, and the owner fetches
// them.
func DecodeDelivery(b []byte) (*DeliveryMessage, error) {
	r := reader{b: b}
	if v := r.bytes(1); v == nil || v[0] != deliveryVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrDeliveryMessage)
	}
	m := &DeliveryMessage{Lease: r.varint()}
	n := r.count(18)
	m.Events = make([]MessageEvent, n)
	for i := range m.Events {
		e := &m.Events[i]
		copy(e.ID[:], r.bytes(16))
		e.CreatedAt = time.UnixMicro(r.varint())
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
		return nil, fmt.Errorf("%w: truncated or malformed", ErrDeliveryMessage)
	}
	return m, nil
}

// reader decodes b. After the first error its methods return zeros.
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

// count decodes the number of the items that follow, of at least size bytes each. It
// fails for more items than the remaining bytes can hold.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if r.failed || n > uint64(len(r.b)/size) { //nolint:gosec // size is positive
		r.failed = true
		return 0
	}
	return int(n) //nolint:gosec // at most len(b)
}
