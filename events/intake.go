package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// lower returns the rune in lower case. No rune outside ASCII becomes one of ASCII: U+212A (Kelvin) stays, because it is
// not the k of another agent's address.
func lower(r rune) rune {
	if low := unicode.ToLower(r); r <= unicode.MaxASCII || low > unicode.MaxASCII {
		return low
	}
	return r
}

// DecodeIntake decodes the body of POST /v1/events as an event of the tenant. An intake message has the same body.
//
// Field names are compared exactly, an unknown field is an error, and null means that the field is absent. The agent's
// address is returned in lower case. Every error is a [*FieldError]; its Field is "body" if the body is not a JSON
// object. DecodeIntake refuses operational types, which only Fanmail may produce.
//
// It does not check the values of the fields, nor whether the tenant has the agent and the type. The caller may still set the
// idempotency key; then [Event.Encode] or the insert into the outbox validates the event.
func DecodeIntake(tenant TenantID, body []byte) (Event, error) {
	if !utf8.Valid(body) {
		return Event{}, &FieldError{"body", "is not UTF-8"}
	}
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return Event{}, &FieldError{"body", "must be a JSON object"}
	}
	if Depth(body) > MaxDepth+1 { // the body itself, and its data
		return Event{}, &FieldError{"data", fmt.Sprintf("nests deeper than %d objects and lists", MaxDepth)}
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(body, &given); err != nil {
		return Event{}, &FieldError{"body", "must be a JSON object: " + strings.ToValidUTF8(clip(err.Error(), 128), "")}
	}
	ev := Event{TenantID: tenant, Data: given["data"]}
	delete(given, "data")
	for _, f := range []struct {
		name, want string
		into       any
	}{
		{"type", "string", &ev.Type},
		{"agent_id", "string", &ev.AgentID},
		{"conversation_id", "string", &ev.ConversationID},
		{"labels", "list of strings", &ev.Labels},
		{"message_id", "string", &ev.MessageID},
		{"idempotency_key", "string", &ev.IdempotencyKey},
	} {
		value, ok := given[f.name]
		if !ok {
			continue
		}
		delete(given, f.name)
		// The value is well-formed, so the only possible error is its kind.
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
	ev.AgentID = strings.Map(lower, ev.AgentID)
	if ev.Type.Operational() {
		return Event{}, &FieldError{"type", fmt.Sprintf("is %q, which only Fanmail may produce", ev.Type)}
	}
	return ev, nil
}
