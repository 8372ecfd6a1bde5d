package e2aenvelope_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/e2aenvelope"
)

func TestAMailInTheOldFormIsReadAgain(t *testing.T) {
	t.Parallel()
	message := events.NewRandom[events.MessageKind]()
	data, err := json.Marshal(email.Received{
		MessageID: message.String(), ConversationID: "conv_1", AgentID: "robot@mail.example", Envelope: email.Envelope{From: "bounce@example.com"},
		From: []email.Address{{Name: "Ann <3", Address: "ann@example.com"}}, To: []email.Address{{Address: "robot@mail.example"}}, Cc: []email.Address{}, ReplyTo: []email.Address{{Address: "r@example.com"}},
		Subject: "Hello & <bye>", ReceivedAt: "2026-01-02T03:04:05.000006Z",
		Authentication: email.Authentication{Checked: true, SPF: email.SPF{Result: "pass"}, DMARC: email.DMARC{Result: "pass"}},
	})
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	ev := events.Event{TenantID: events.NewRandom[events.TenantKind](), Type: events.EmailReceived, Data: data}
	head, tail, err := ev.Encode(events.NewID())
	require.NoError(t, err)
	stored := append(append(head, at.Format(events.TimeLayout)...), tail...)

	id, createdAt, ok := e2aenvelope.Message(stored)
	require.True(t, ok)
	require.Equal(t, message, id)
	require.True(t, at.Equal(createdAt))

	old, err := e2aenvelope.Encode(stored, []byte("Subject: Hello\r\n\r\n"))
	require.NoError(t, err)
	require.Contains(t, string(old), `"subject":"Hello & <bye>"`, "not escaped")
	r, err := e2aenvelope.DecodeReceived(old)
	require.NoError(t, err)
	require.Equal(t, e2aenvelope.Received{
		MessageID: message.String(), ConversationID: "conv_1", From: "ann@example.com", To: e2aenvelope.Texts{"robot@mail.example"}, CC: e2aenvelope.Texts{}, ReplyTo: e2aenvelope.Texts{"r@example.com"},
		Recipient: "robot@mail.example", Subject: "Hello & <bye>", RawMessage: []byte("Subject: Hello\r\n\r\n"), ReceivedAt: at,
		AuthHeaders: map[string]string{"X-E2A-Auth-Verified": "true", "X-E2A-Auth-Sender": "ann@example.com", "X-E2A-Auth-Domain-Check": "spf=pass; dkim=none; dmarc=pass"},
	}, r)
	again, err := e2aenvelope.Encode(old, nil)
	require.NoError(t, err)
	require.Equal(t, string(old), string(again), "what is in the old form stays, byte for byte")
	_, _, ok = e2aenvelope.Message(old)
	require.False(t, ok)
}

func TestTheEnvelopeOfAnotherTypeKeepsItsData(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"email.sent", "email.received"} { // the latter of another producer
		old, err := e2aenvelope.Encode([]byte(`{"type":"`+typ+`","id":"evt_000102030405060708090a0b0c0d0e0f","created_at":"2026-01-02T03:04:05Z","schema_version":"1","data":{"b":1,"a":"<"}}`), nil)
		require.NoError(t, err)
		require.JSONEq(t, `{"event":"`+typ+`","id":"evt_000102030405060708090a0b0c0d0e0f","created_at":"2026-01-02T03:04:05Z","schema_version":"1","data":{"b":1,"a":"<"}}`, string(old))
	}
}

func TestWhatE2AStoredIsReadAsFarAsItCanBe(t *testing.T) {
	t.Parallel()
	r, err := e2aenvelope.DecodeReceived([]byte(`{"event":"email.received","id":"x","created_at":"2026-01-02T03:04:05Z","data":{"message_id":"msg_7","subject":7,"from":{"email":"a@example.com"},"to":"b@example.com","cc":null,
		"reply_to":[{"address":"c@example.com"},5],"received_at":"yesterday","auth_headers":{"X-E2A-Auth-Verified":"true","X-E2A-Auth-Sender":"a\r\nX-Evil: 1","Authorization":"x","X-E2A-Auth-a b":"x"}}}`))
	require.NoError(t, err)
	require.Equal(t, e2aenvelope.Text("a@example.com"), r.From)
	require.Equal(t, e2aenvelope.Texts{"b@example.com"}, r.To)
	require.Equal(t, e2aenvelope.Texts{"c@example.com"}, r.ReplyTo)
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), r.ReceivedAt)
	require.Equal(t, map[string]string{"X-E2A-Auth-Verified": "true", "X-E2A-Auth-Sender": "=?utf-8?q?a=0D=0AX-Evil:_1?="}, r.AuthHeaders)
	for _, bad := range []string{``, `null`, `{}`, `{"event":"email.sent","data":{}}`, `{"event":"email.received","data":[]}`, `{"event":"email.received"}`, `{"event":"email.received","created_at":"2026-01-02T03:04:05Z","data":{"message_id":7}}`, `{"event":"email.received","data":{"message_id":"msg_7"}}`} {
		_, err := e2aenvelope.DecodeReceived([]byte(bad))
		require.ErrorIs(t, err, e2aenvelope.ErrForm, bad)
	}
}
