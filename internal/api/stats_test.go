package api_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestStatsAreOfTheTenantAndOfEachWebhook(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	hook, idle := c.webhook(), c.webhook()
	deliverLive(ctx, t, w, c.event(), hook)
	_, err := w.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'delivered', attempts = 1, finished_at = created_at + interval '250 milliseconds', next_retry_at = NULL`)
	require.NoError(t, err)
	deliverLive(ctx, t, w, c.event(), hook)

	got := c.do("GET", "/v1/stats", nil).want(t, 200)
	require.Equal(t, "1h", got.text("window"))
	require.EqualValues(t, 2, got.json["events"].(map[string]any)["waiting"])
	require.NotNil(t, got.json["events"].(map[string]any)["oldest"])
	total := got.json["total"].(map[string]any)
	require.EqualValues(t, 1, total["delivered"])
	require.EqualValues(t, 1, total["pending"])
	require.EqualValues(t, 1, total["waiting"])
	require.EqualValues(t, 1, total["success_rate"])
	require.EqualValues(t, 250, total["latency"].(map[string]any)["p99_ms"])
	require.Equal(t, true, total["complete"])
	by := map[string]map[string]any{}
	for _, e := range got.json["webhooks"].([]any) {
		e := e.(map[string]any)
		by[e["webhook_id"].(string)] = e
	}
	require.Len(t, by, 2)
	require.EqualValues(t, 1, by[hook]["delivered"])
	require.Nil(t, by[idle]["latency"])
	require.Nil(t, by[idle]["success_rate"])
	require.Nil(t, by[idle]["oldest_due"])

	require.Len(t, c.do("GET", "/v1/stats?window=5m&webhook_id="+idle, nil).want(t, 200).json["webhooks"], 1)
	c.do("GET", "/v1/stats?window=1y", nil).want(t, 422).names(t, "query.window")
	other.do("GET", "/v1/stats?webhook_id="+hook, nil).want(t, 404)
	theirs := other.do("GET", "/v1/stats", nil).want(t, 200)
	require.Empty(t, theirs.json["webhooks"])
	require.EqualValues(t, 0, theirs.json["total"].(map[string]any)["delivered"])
}

func TestAFilteredListGoesOnWhereItsScanEnded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	_, err := w.pool.Exec(ctx, `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT gen_random_uuid(), now() - make_interval(secs => i * 0.001), $1, CASE WHEN i = $2 THEN 'email.sent' ELSE 'email.received' END, i, '{}'
		FROM generate_series(1, $2::int) AS i`, id[events.TenantKind](t, c.tenantID), subscribers.ListScan+5)
	require.NoError(t, err)
	_, err = w.pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, finished_at, expires_at, seq, max_attempts, event_type, status)
		SELECT gen_random_uuid(), created_at, $1, tenant_id, id, created_at, now(), now() + interval '1 day', seq, 8, type,
			CASE WHEN type = 'email.sent' THEN 'failed' ELSE 'delivered' END FROM fanmail.events`, id[events.WebhookKind](t, hook))
	require.NoError(t, err)
	for _, path := range []string{"/v1/events?type=email.sent", "/v1/webhooks/" + hook + "/deliveries?status=failed"} {
		first := c.do("GET", path, nil).want(t, 200)
		require.Empty(t, first.json["data"], path)
		cursor := first.text("next_cursor")
		require.NotEmpty(t, cursor, "the list goes on")
		second := c.do("GET", with(path, "cursor="+cursor), nil).want(t, 200)
		require.Len(t, second.json["data"], 1, path)
		require.Nil(t, second.json["next_cursor"])
	}
}
