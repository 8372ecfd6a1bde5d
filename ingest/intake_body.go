package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/fanmail-dev/fanmail/events"
)

// intakeBody is the body of POST /v1/events and of an intake message.
type intakeBody struct {
	Type           events.Type     `json:"type"`
	AgentID        string          `json:"agent_id"`
	ConversationID string          `json:"conversation_id"`
	Labels         []string        `json:"labels"`
	MessageID      string          `json:"message_id"`
	Data           json.RawMessage `json:"data"`
	IdempotencyKey string          `json:"idempotency_key"`
}

// DecodeIntake reads the body of POST /v1/events, which is that of an intake
// message too, as an event of the tenant. Unknown fields are refused. The
// agent's address is given in lower case; whether the tenant has such an agent
// is for the caller to check. Every error is an [*events.FieldError]; its Field
// is "body" where the whole is no JSON object. An event that it returns passes
// [events.Event.ValidateProduced] and fits an envelope.
func DecodeIntake(tenant events.TenantID, body []byte) (events.Event, error) {
	if !utf8.Valid(body) {
		return events.Event{}, &events.FieldError{Field: "body", Reason: "is not UTF-8"}
	}
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return events.Event{}, &events.FieldError{Field: "body", Reason: "must be a JSON object"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	var in intakeBody
	if err := d.Decode(&in); err != nil {
		return events.Event{}, decodeError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return events.Event{}, &events.FieldError{Field: "body", Reason: "goes on after the JSON object"}
	}
	ev := events.Event{
		TenantID: tenant, Type: in.Type, AgentID: strings.ToLower(in.AgentID), ConversationID: in.ConversationID,
		Labels: in.Labels, MessageID: in.MessageID, Data: in.Data, IdempotencyKey: in.IdempotencyKey,
	}
	if err := ev.ValidateProduced(); err != nil {
		return events.Event{}, err
	}
	if _, _, err := ev.Encode(events.ID{}); err != nil {
		return events.Event{}, err
	}
	return ev, nil
}

func decodeError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		want := "string"
		if strings.HasPrefix(wrong.Field, "labels") && wrong.Type.Kind().String() == "slice" {
			want = "list of strings"
		}
		return &events.FieldError{Field: wrong.Field, Reason: fmt.Sprintf("must be a %s, not a %s", want, cutAt(wrong.Value, 64))}
	}
	// The decoder has no type for this one.
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if name = cutAt(strings.Trim(name, `"`), 64); name == "" {
			return &events.FieldError{Field: "body", Reason: "has a field without a name, which is not a field of an event"}
		}
		return &events.FieldError{Field: name, Reason: "is not a field of an event"}
	}
	return &events.FieldError{Field: "body", Reason: "must be a JSON object: " + cutAt(err.Error(), 128)}
}
