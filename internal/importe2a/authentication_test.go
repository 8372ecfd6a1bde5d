package importe2a_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/e2atest"
)

// TestTheSendersAuthenticationComesFromTheMessageWhereTheEventHasNone: the agent's own webhook gets it as headers.
func TestTheSendersAuthenticationComesFromTheMessageWhereTheEventHasNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	// The events of pending mails lack it, have null, or have an empty object; msg_mail2 has its own, msg_mail6 another form.
	r.there.Exec(t, `UPDATE webhook_events SET envelope = CASE substr(message_id, 9)::integer % 3 WHEN 0 THEN envelope #- '{data,auth_headers}'
		WHEN 1 THEN jsonb_set(envelope, '{data,auth_headers}', 'null') ELSE jsonb_set(envelope, '{data,auth_headers}', '{}') END WHERE substr(message_id, 9)::integer % 4 = 0;
		UPDATE webhook_events SET envelope = jsonb_set(envelope, '{data,auth_headers}', '{"X-E2A-Auth-Verified": "own"}') WHERE message_id = 'msg_mail2';
		UPDATE webhook_events SET envelope = jsonb_set(envelope #- '{data,auth_headers}', '{data,authentication}', '{"spf": "pass"}') WHERE message_id = 'msg_mail6';
		UPDATE messages SET auth_headers = '[1]' WHERE id = 'msg_mail10';
		UPDATE webhook_events SET envelope = envelope #- '{data,auth_headers}' WHERE message_id IN ('msg_mail10', 'msg_mail14');
		UPDATE messages SET auth_headers = NULL WHERE id = 'msg_mail14'`)
	// A delivery from before e2a kept events: its event is made of the payload.
	r.there.Exec(t, `INSERT INTO webhook_subscriber_deliveries (id, webhook_id, event_type, event_payload, message_id, status, attempts, max_attempts, next_retry_at, created_at)
		SELECT 'whd_' || md5('alone'), $1, 'email.received', jsonb_set(envelope, '{id}', to_jsonb('evt_' || md5('alone'))), 'msg_mail4', 'delivered', 1, 8, now(), created_at
		FROM webhook_events WHERE message_id = 'msg_mail4'`, e2atest.HookA)
	require.Zero(t, r.run(r.options()).Missing())

	headers := func(event string) string {
		t.Helper()
		id, err := events.Parse[events.EventKind](event)
		require.NoError(t, err)
		var got string
		require.NoError(t, r.pool.QueryRow(t.Context(), `SELECT coalesce(convert_from(envelope, 'UTF8')::jsonb #>> '{data,auth_headers}', 'none') FROM fanmail.events WHERE id = $1`, id).Scan(&got))
		return got
	}
	eventOf := func(message string) (id string) {
		t.Helper()
		require.NoError(t, r.there.Pool.QueryRow(t.Context(), `SELECT id FROM webhook_events WHERE message_id = $1`, message).Scan(&id))
		return id
	}
	const all = `{"X-E2A-Auth-Sender": "someone@example.com", "X-E2A-Auth-Verified": "true", "X-E2A-Auth-Signature": "sig4"}`
	require.JSONEq(t, all, headers(eventOf("msg_mail4")))
	var alone string
	require.NoError(t, r.there.Pool.QueryRow(t.Context(), `SELECT 'evt_' || md5('alone')`).Scan(&alone))
	require.JSONEq(t, all, headers(alone))
	require.JSONEq(t, `{"X-E2A-Auth-Verified": "own"}`, headers(eventOf("msg_mail2")), "what the event has stays")
	for _, message := range []string{"msg_mail6", "msg_mail10", "msg_mail14"} {
		require.Equal(t, "none", headers(eventOf(message)), message)
	}

	r.start()
	mails := e2atest.Mails / 4
	r.wait(func() bool { return r.sink.CountTo("/clerk") >= mails })
	r.checkClerk(mails)
}
