package api_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

func TestActivityIsOfTheTenantAndOfEachWebhookOverTime(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	nc, _ := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC = nc })
	c, other := w.tenant(), w.tenant()
	idle, hook := c.webhook(), c.webhook()
	add := func(n int, status, kind, age string) {
		_, err := w.pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
				(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, finished_at, expires_at, seq, max_attempts, event_type, status, kind)
			SELECT gen_random_uuid(), now() - $4::interval, $1, $2, gen_random_uuid(), now(), CASE WHEN $5 = 'pending' THEN now() + interval '1 hour' END,
				CASE WHEN $5 <> 'pending' THEN now() END, now(), i, 8, 'email.received', $5, $6 FROM generate_series(1, $3::int) AS i`,
			id[events.WebhookKind](t, hook), id[events.TenantKind](t, c.tenantID), n, age, status, kind)
		require.NoError(t, err)
	}
	add(6, "delivered", "live", "4 hours")
	add(2, "failed", "live", "4 hours")
	add(3, "pending", "live", "1 second")
	add(9, "failed", "test", "4 hours")
	add(500, "delivered", "live", "20 hours")

	got := c.do("GET", "/v1/activity", nil).want(t, 200)
	require.Equal(t, "24h", got.text("window"))
	require.Equal(t, true, got.json["complete"])
	list := got.json["webhooks"].([]any)
	require.Len(t, list, 2)
	busy := list[0].(map[string]any)
	require.Equal(t, hook, busy["webhook_id"])
	require.Equal(t, idle, list[1].(map[string]any)["webhook_id"])
	require.Nil(t, list[1].(map[string]any)["success_rate"])
	require.EqualValues(t, 3, busy["waiting"])
	require.NotEmpty(t, busy["next_due"])
	require.Nil(t, busy["lane"])
	short := c.do("GET", "/v1/activity?waiting=false", nil).want(t, 200)
	require.Equal(t, got.json["total"], short.json["total"])
	require.EqualValues(t, 0, short.json["webhooks"].([]any)[0].(map[string]any)["waiting"])
	require.Nil(t, short.json["webhooks"].([]any)[0].(map[string]any)["next_due"])
	sum := map[string]float64{}
	estimated := 0
	for _, b := range busy["buckets"].([]any) {
		b := b.(map[string]any)
		if b["estimated"] == true {
			estimated++
			require.GreaterOrEqual(t, b["delivered"], 41.0)
			continue
		}
		for _, status := range []string{"delivered", "failed", "pending"} {
			sum[status] += b[status].(float64)
		}
	}
	require.Equal(t, map[string]float64{"delivered": 6, "failed": 2, "pending": 3}, sum)
	require.Equal(t, 1, estimated, "a bucket with more than is read says so")
	require.Equal(t, busy["buckets"], got.json["total"], "the other webhook adds nothing")

	sub, err := nc.Subscribe(events.AskLanePrefix+"*", func(m *nats.Msg) {
		answer, err := json.Marshal(subscribers.LaneState{Owner: "somebody", State: subscribers.LaneProbing})
		if err == nil {
			_ = m.Respond(answer)
		}
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	require.NoError(t, nc.Flush())
	require.Eventually(t, func() bool { // the wait for lanes is bounded
		one := c.do("GET", "/v1/activity?window=1h&lanes=true&webhook_id="+hook, nil).want(t, 200).json["webhooks"].([]any)
		require.Len(t, one, 1)
		lane, answered := one[0].(map[string]any)["lane"].(map[string]any)
		return answered && lane["state"] == "probing"
	}, time.Minute, 10*time.Millisecond)

	c.do("GET", "/v1/activity?window=1y", nil).want(t, 422).names(t, "query.window")
	c.do("GET", "/v1/activity?webhook_id=wh_x", nil).want(t, 422).names(t, "query.webhook_id")
	other.do("GET", "/v1/activity?webhook_id="+hook, nil).want(t, 404)
	require.Empty(t, other.do("GET", "/v1/activity", nil).want(t, 200).json["webhooks"])
}
