package ingest_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/ingest"
)

// A bounce of a server that writes no delivery status is told like one that has it.
func TestABounceWithoutADeliveryStatusIsAnEventToo(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	raw, err := os.ReadFile("../mailparse/testdata/bounces/qmail.eml")
	require.NoError(t, err)
	w := hello(t, s)
	w.say(250, "MAIL FROM:<>")
	w.say(250, "RCPT TO:<a@example.com>")
	w.bdat(250, raw)
	received := mails(t, pool)[0].Data
	require.Equal(t, "auto-replied", received.AutoSubmitted)
	var envelope []byte
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT envelope FROM fanmail.events WHERE type = 'email.bounced'`).Scan(&envelope))
	env, err := events.DecodeEnvelope(envelope)
	require.NoError(t, err)
	var d email.Bounced
	require.NoError(t, json.Unmarshal(env.Data, &d))
	require.Equal(t, *received.Bounce, d.Bounce)
	require.Equal(t, "nobody@example.net", d.Bounce.Recipient)
	require.Equal(t, "failed", d.Bounce.Action)
	require.Equal(t, "5.1.1", d.Bounce.Status)
	require.Equal(t, "order-17@sender.example", d.Bounce.OriginalMessageID)
	require.Equal(t, received.MessageID, d.MessageID)
}
