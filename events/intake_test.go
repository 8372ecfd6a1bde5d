package events_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestDecodeIntakeNamesTheFault(t *testing.T) {
	t.Parallel()
	ten := events.NewRandom[events.TenantKind]()
	for body, want := range map[string]string{
		`{}`:                              "type",
		`{"type":"email.sent"}`:           "data",
		`{"type":5,"data":{}}`:            "type",
		`{"type":"email.sent","data":[]}`: "data",
		`{"type":"email.sent","data":{},"labels":"x"}`:          "labels",
		`{"type":"email.sent","data":{},"labels":[1]}`:          "labels",
		`{"type":"email.sent","data":{},"labels":[""]}`:         "labels",
		`{"type":"email.sent","data":{},"tenant_id":"x"}`:       "tenant_id",
		`{"type":"email.sent","data":{}} {}`:                    "body",
		`{"type":"email.sent","data":{}`:                        "body",
		`[]`:                                                    "body",
		`null`:                                                  "body",
		"{\"type\":\"email.sent\",\"data\":{\"a\":\"\xff\"}}":   "body",
		`{"type":"email.sent","data":{},"message_id":"\u0000"}`: "message_id",
		`{"type":"email.sent","data":{},"idempotency_key":"` + strings.Repeat("k", 999) + `"}`:         "idempotency_key",
		`{"type":"email.sent","data":{"a":"` + strings.Repeat("x", events.MaxEnvelopeBytes-20) + `"}}`: "data",
		`{"TYPE":"email.sent","data":{}}`:       "TYPE",
		`{"type":"webhook.disabled","data":{}}`: "type",
	} {
		ev, err := events.DecodeIntake(ten, []byte(body))
		if err == nil {
			_, _, err = ev.Encode(events.NewID())
		}
		var fault *events.FieldError
		require.ErrorAs(t, err, &fault, "%.60s: %v", body, err)
		require.Equal(t, want, fault.Field, "%.60s", body)
	}
	ev, err := events.DecodeIntake(ten, []byte(` {"type":"email.sent","agent_id":"A@B","labels":null,"data": {"a":1} } `))
	require.NoError(t, err)
	require.Equal(t, events.Event{TenantID: ten, Type: events.EmailSent, AgentID: "a@b", Data: json.RawMessage(`{"a":1}`)}, ev)
}
