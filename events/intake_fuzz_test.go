package events_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

// Any message is either an event that can be encoded, or an error that names a field.
func FuzzDecodeIntake(f *testing.F) {
	for _, seed := range []string{
		`{"type":"email.sent","agent_id":"A@example.com","conversation_id":"c","labels":["x"],"message_id":"m","data":{"a":[1,{}]},"idempotency_key":"k"}`,
		`{"type":"email.sent","data":{"a":"\u2028\u0000\ud800"}}`, `{"type":"email.sent","data":{"a":1},"data":null}`,
		`{"type":"email.sent","labels":"x","data":{}}`, `{"TYPE":"email.sent","data":{}}`, `{"type":"email.eaten"}`, "[]", "null", "", "\xff", `{"type":"email.sent","data":{}}]`,
	} {
		f.Add([]byte(seed))
	}
	tenant := events.NewRandom[events.TenantKind]()
	f.Fuzz(func(t *testing.T, body []byte) {
		var head, tail []byte
		ev, err := events.DecodeIntake(tenant, body)
		if err == nil {
			invalid := ev.Validate()
			head, tail, err = ev.Encode(events.NewID())
			require.True(t, invalid == nil || err != nil, "Encode refuses what Validate refuses: %v", invalid)
		}
		if err != nil {
			var field *events.FieldError
			require.ErrorAs(t, err, &field)
			require.NotEmpty(t, field.Field)
			require.Less(t, len(field.Error()), 2048, "an error is short for every body")
			require.True(t, utf8.ValidString(field.Error()))
			return
		}
		whole := append(append(head, events.TimeLayout...), tail...)
		require.LessOrEqual(t, len(whole), events.MaxEnvelopeBytes)
		env, err := events.DecodeEnvelope(whole)
		require.NoError(t, err)
		require.Equal(t, ev.Type, env.Type)
		require.True(t, json.Valid(env.Data))
	})
}
