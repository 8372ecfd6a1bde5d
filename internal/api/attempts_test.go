package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// TestADeliveryThatIsRetriedWithoutEndIsReadAndRefused retries deliveries until there is no room for more attempts.
func TestADeliveryThatIsRetriedWithoutEndIsReadAndRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	exec := func(sql string, args ...any) {
		t.Helper()
		_, err := w.pool.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	const made = retry.Most - retry.MaxAttempts + 1
	full := deliverLive(t.Context(), t, w, c.event(), hook)
	exec(`UPDATE fanmail.webhook_subscriber_deliveries SET status = 'failed', attempts = $1, max_attempts = $1, finished_at = now(), next_retry_at = NULL, last_attempt_at = now()`, made)
	exec(`INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason, error, response)
		SELECT id, created_at, n, created_at + n * interval '1 s', 12, 500, 'status', 'answered 500', repeat(E'\x01', 1024)
		FROM fanmail.webhook_subscriber_deliveries, generate_series($1 - 999, $1) AS n`, made)

	got := c.do("GET", "/v1/deliveries/"+full, nil).want(t, 200)
	log := got.json["attempt_log"].([]any)
	require.Len(t, log, subscribers.LoggedAttempts)
	for i, a := range log {
		require.EqualValues(t, made-len(log)+1+i, a.(map[string]any)["attempt"], "the newest, in order")
	}
	require.EqualValues(t, made, got.json["attempts"], "all count")
	of := c.do("GET", "/v1/events/"+got.text("event_id")+"?attempts=true", nil).want(t, 200).json["deliveries"].([]any)
	require.Equal(t, log, of[0].(map[string]any)["attempt_log"])

	limit := fmt.Sprintf("at most %d attempts", retry.Most)
	require.Contains(t, c.do("POST", "/v1/deliveries/"+full+"/retry", nil).want(t, 409).text("detail"), limit)
	bulk := func() any {
		return c.do("POST", "/v1/webhooks/"+hook+"/retry", map[string]any{"since": "2026-01-01T00:00:00Z"}).want(t, 200).json["retried"]
	}
	require.EqualValues(t, 0, bulk(), "it is left out")
	exec(`UPDATE fanmail.webhook_subscriber_deliveries SET attempts = attempts - 1`)
	require.EqualValues(t, 1, bulk())
	require.EqualValues(t, retry.Most, c.do("POST", "/v1/deliveries/"+full+"/retry", nil).want(t, 200).json["max_attempts"])

	c.agent("owner@example.com").want(t, 201)
	message := insertMessage(t.Context(), t, w, c, c.event(), fmt.Appendf(nil, parcel, "x"))
	exec(`INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, status, attempts, max_attempts, expires_at)
		SELECT id, created_at, tenant_id, agent_id, 'failed', $1, $1, now() + interval '1 hour' FROM fanmail.messages`, made)
	require.Contains(t, c.do("POST", "/v1/messages/"+message+"/retry", nil).want(t, 409).text("detail"), limit)
	exec(`UPDATE fanmail.webhook_deliveries SET attempts = attempts - 1`)
	require.EqualValues(t, retry.Most, c.do("POST", "/v1/messages/"+message+"/retry", nil).want(t, 200).json["max_attempts"])
}
