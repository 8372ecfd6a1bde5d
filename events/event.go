package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// SchemaVersion is the version of the envelope's format. Every envelope contains it.
const SchemaVersion = "1"

// Limits of an event. An error that a limit causes names it.
const (
	// MaxEnvelopeBytes bounds the encoded envelope. It stays well under the
	// broker's default payload limit of 1 MiB.
	MaxEnvelopeBytes = 256 << 10
	// MaxKeyBytes bounds the idempotency key, the agent, conversation and
	// message ids, and each label.
	MaxKeyBytes = 998
	// MaxLabels bounds the labels of an event.
	MaxLabels = 100
)

// Event is a fact about mail that a producer inserts.
type Event struct {
	// TenantID is the tenant that owns the event. Required.
	TenantID TenantID
	// Type is a type of the catalogue, or one that the tenant or an operator has made. Required.
	Type Type
	// AgentID is the mail address that the event concerns; "" for none.
	AgentID string
	// ConversationID is the conversation; "" for none.
	ConversationID string
	// Labels are compared with the label filters of webhooks. At most [MaxLabels].
	Labels []string
	// MessageID is the message that the event is about; "" for none.
	MessageID string
	// Data is the envelope's "data": one JSON object. Required.
	Data json.RawMessage
	// IdempotencyKey prevents duplicates: two inserts with the same tenant, key and type within 30 days are one event.
	// "" means that each insert is an event.
	IdempotencyKey string
}

// Envelope is the JSON that a subscriber receives.
type Envelope struct {
	Type          Type            `json:"type"`
	ID            ID              `json:"id"`
	CreatedAt     time.Time       `json:"created_at"`
	SchemaVersion string          `json:"schema_version"`
	Data          json.RawMessage `json:"data"`
}

// Validate checks the event against the catalogue and the limits. It returns an error that wraps a [*FieldError] for the
// first fault, or nil. A type that is not in the catalogue must have the form of an own type; whether it exists, the
// insert into the outbox looks up. [Event.Encode] makes the same checks, so a caller that encodes the event need not
// validate it first.
func (e *Event) Validate() error {
	if err := e.check(); err != nil {
		return err
	}
	if !json.Valid(e.Data) {
		return faultyData()
	}
	return nil
}

// faultyData is the fault of data that is not a JSON object.
func faultyData() *FieldError { return &FieldError{"data", "must be a JSON object in UTF-8"} }

// check makes every check but the one that data is well-formed JSON.
func (e *Event) check() error {
	if e.TenantID.IsZero() {
		return &FieldError{"tenant_id", "is required"}
	}
	if !e.Type.Possible() {
		return (&UnknownTypeError{e.Type}).In("type")
	}
	for _, f := range []struct{ name, value string }{
		{"agent_id", e.AgentID},
		{"conversation_id", e.ConversationID},
		{"message_id", e.MessageID},
		{"idempotency_key", e.IdempotencyKey},
	} {
		if err := checkText(f.name, f.value); err != nil {
			return err
		}
	}
	if len(e.Labels) > MaxLabels {
		return &FieldError{"labels", fmt.Sprintf("has %d labels; the limit is %d", len(e.Labels), MaxLabels)}
	}
	for _, l := range e.Labels {
		if l == "" {
			return &FieldError{"labels", "holds an empty label"}
		}
		if strings.ContainsFunc(l, unicode.IsControl) {
			return &FieldError{"labels", "holds a control character"}
		}
		if err := checkText("labels", l); err != nil {
			return err
		}
	}
	// Check the length first, so that an oversized value is not scanned.
	if len(e.Data) > MaxEnvelopeBytes {
		return &FieldError{"data", fmt.Sprintf("has %d bytes; the limit of an envelope is %d", len(e.Data), MaxEnvelopeBytes)}
	}
	if d := bytes.TrimLeft(e.Data, " \t\r\n"); len(d) == 0 || d[0] != '{' || !utf8.Valid(e.Data) {
		return faultyData()
	}
	if Depth(e.Data) > MaxDepth {
		return &FieldError{"data", fmt.Sprintf("nests deeper than %d objects and lists", MaxDepth)}
	}
	return nil
}

// MaxDepth is how deep the objects and lists of an event's data may nest. Parsers of receivers have limits of their own.
const MaxDepth = 100

// Depth returns how deep the objects and lists of a JSON text nest. It does not check that the text is JSON.
func Depth(b []byte) int {
	depth, deepest := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}

func checkText(field, v string) error {
	switch {
	case len(v) > MaxKeyBytes:
		return &FieldError{field, fmt.Sprintf("has %d bytes; the limit is %d", len(v), MaxKeyBytes)}
	case !utf8.ValidString(v):
		return &FieldError{field, "is not UTF-8"}
	case strings.IndexByte(v, 0) >= 0:
		return &FieldError{field, "holds a NUL byte"}
	}
	return nil
}

// Encode validates the event and returns the two parts of its envelope: the bytes before its creation time and the
// bytes after it. The database writes the time between them, in [TimeLayout], when it inserts the row. Its errors are
// those of [Event.Validate], and a [*FieldError] if the envelope is larger than [MaxEnvelopeBytes].
func (e *Event) Encode(id ID) (head, tail []byte, err error) {
	if err := e.check(); err != nil {
		return nil, nil, err
	}
	head = make([]byte, 0, 96)
	head = append(head, `{"type":"`...)
	head = append(head, e.Type...)
	head = append(head, `","id":"`...)
	head = id.append(head)
	head = append(head, `","created_at":"`...)
	var data bytes.Buffer
	data.Grow(len(e.Data) + 40)
	data.WriteString(`","schema_version":"` + SchemaVersion + `","data":`)
	if err := json.Compact(&data, e.Data); err != nil {
		return nil, nil, faultyData()
	}
	data.WriteByte('}')
	if n := len(head) + len(TimeLayout) + data.Len(); n > MaxEnvelopeBytes {
		return nil, nil, &FieldError{"data", fmt.Sprintf("makes an envelope of %d bytes; the limit is %d", n, MaxEnvelopeBytes)}
	}
	return head, data.Bytes(), nil
}

// Head returns the type and the schema version of an envelope that [Event.Encode] has made, without decoding it. Each is
// nil if it is not at its place.
func Head(envelope []byte) (eventType, schemaVersion []byte) {
	rest, ok := bytes.CutPrefix(envelope, []byte(`{"type":"`))
	if !ok {
		return nil, nil
	}
	eventType, rest, ok = bytes.Cut(rest, []byte{'"'})
	if !ok {
		return nil, nil
	}
	const maxHead = 128 // what precedes the data
	_, rest, ok = bytes.Cut(rest[:min(len(rest), maxHead)], []byte(`,"schema_version":"`))
	if !ok {
		return eventType, nil
	}
	schemaVersion, _, ok = bytes.Cut(rest, []byte{'"'})
	if !ok {
		return eventType, nil
	}
	return eventType, schemaVersion
}

// TimeLayout is the format of the times in envelopes: RFC 3339, UTC, microseconds.
const TimeLayout = "2006-01-02T15:04:05.000000Z"

// ErrEnvelope is wrapped by every error of [DecodeEnvelope].
var ErrEnvelope = errors.New("not an envelope")

// DecodeEnvelope decodes an envelope strictly. It returns an error that wraps [ErrEnvelope] if a field is unknown or
// missing, no event can have the type, the bytes are not UTF-8, or more bytes follow the envelope.
func DecodeEnvelope(b []byte) (Envelope, error) {
	var env Envelope
	if !utf8.Valid(b) {
		return Envelope{}, fmt.Errorf("%w: not UTF-8", ErrEnvelope)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&env); err != nil {
		return Envelope{}, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Envelope{}, fmt.Errorf("%w: bytes after its end", ErrEnvelope)
	}
	switch {
	case !env.Type.Possible():
		return Envelope{}, fmt.Errorf("%w: %w", ErrEnvelope, &UnknownTypeError{env.Type})
	case env.ID.IsZero() || env.CreatedAt.IsZero() || env.SchemaVersion == "":
		return Envelope{}, fmt.Errorf("%w: id, created_at or schema_version is missing", ErrEnvelope)
	case len(env.Data) == 0 || env.Data[0] != '{':
		return Envelope{}, fmt.Errorf("%w: data is not an object", ErrEnvelope)
	}
	return env, nil
}
