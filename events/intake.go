package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// DecodeIntake reads the body of POST /v1/events, which is that of an intake
// message too, as an event of the tenant. Names of fields are compared exactly
// and unknown ones refused; null is the same as absent. The agent's address is
// given in lower case; whether the tenant has such an agent is for the caller
// to check. Every error is a [*FieldError]; its Field is "body" where the whole
// is no JSON object. An event that it returns passes [Event.ValidateProduced]
// and fits an envelope.
func DecodeIntake(tenant TenantID, body []byte) (Event, error) {
	if !utf8.Valid(body) {
		return Event{}, &FieldError{"body", "is not UTF-8"}
	}
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return Event{}, &FieldError{"body", "must be a JSON object"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	var given map[string]json.RawMessage
	if err := d.Decode(&given); err != nil {
		return Event{}, &FieldError{"body", "must be a JSON object: " + strings.ToValidUTF8(clip(err.Error(), 128), "")}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Event{}, &FieldError{"body", "goes on after the JSON object"}
	}
	ev := Event{TenantID: tenant}
	for _, f := range []struct {
		name, want string
		into       any
	}{
		{"type", "string", &ev.Type},
		{"agent_id", "string", &ev.AgentID},
		{"conversation_id", "string", &ev.ConversationID},
		{"labels", "list of strings", &ev.Labels},
		{"message_id", "string", &ev.MessageID},
		{"data", "JSON object", &ev.Data},
		{"idempotency_key", "string", &ev.IdempotencyKey},
	} {
		value, ok := given[f.name]
		if !ok {
			continue
		}
		delete(given, f.name)
		// Of what is well formed, only the wrong kind fails.
		if err := json.Unmarshal(value, f.into); err != nil {
			return Event{}, &FieldError{f.name, "must be a " + f.want}
		}
	}
	if len(given) > 0 {
		name := slices.Min(slices.Collect(maps.Keys(given)))
		if name == "" {
			return Event{}, &FieldError{"body", "has a field without a name, which is not a field of an event"}
		}
		return Event{}, &FieldError{strings.ToValidUTF8(clip(name, 64), ""), "is not a field of an event"}
	}
	ev.AgentID = strings.ToLower(ev.AgentID)
	if err := ev.ValidateProduced(); err != nil {
		return Event{}, err
	}
	if _, _, err := ev.Encode(ID{}); err != nil {
		return Event{}, err
	}
	return ev, nil
}
