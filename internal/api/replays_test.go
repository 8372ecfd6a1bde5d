package api_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

func TestAReplayIsAskedForReadAndCancelled(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC = nc })
	hints, err := nc.SubscribeSync(events.WakeReplays)
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	c := w.tenant()
	c.do("POST", "/v1/agents", map[string]any{"address": "sales@example.com"}).want(t, 201)
	hook := c.webhook()
	since := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	made := c.do("POST", "/v1/replays", map[string]any{
		"since": since, "until": time.Now().Add(time.Hour), "webhook_id": hook, "types": []string{"email.received"},
		"agent_ids": []string{"Sales@example.com"}, "mode": "missed",
	}, "Idempotency-Key", "one").want(t, 202)
	id := made.text("id")
	hint(t, hints)
	require.Equal(t, "queued", made.text("state"))
	require.Equal(t, since.Format(time.RFC3339Nano), made.text("since"))
	require.Equal(t, made.text("created_at"), made.text("until"), "until is at most now")
	again := c.do("POST", "/v1/replays", map[string]any{"since": since, "mode": "missed"}, "Idempotency-Key", "one")
	again.want(t, 422)

	got := c.do("GET", "/v1/replays/"+id, nil).want(t, 200)
	for name, want := range map[string]any{
		"id": id, "mode": "missed", "webhook_id": hook, "types": []any{"email.received"}, "agent_ids": []any{"sales@example.com"},
		"matched": 0., "enqueued": 0., "delivered": 0., "failed": 0., "reading": true, "source": nil, "finished_at": nil,
	} {
		require.Equal(t, want, got.json[name], name)
	}
	require.Equal(t, "cancelling", c.do("DELETE", "/v1/replays/"+id, nil).want(t, 202).text("state"))
	hint(t, hints)
	second := c.do("POST", "/v1/replays", map[string]any{"since": since, "mode": "all"}).want(t, 202).text("id")
	require.Equal(t, []string{second, id}, c.do("GET", "/v1/replays", nil).want(t, 200).ids(t, "id"))
	_, err = w.pool.Exec(context.Background(), `UPDATE fanmail.replays SET state = 'completed', finished_at = now() WHERE state = 'queued'`)
	require.NoError(t, err)
	c.do("DELETE", "/v1/replays/"+second, nil).want(t, 409)
}

func hint(t *testing.T, hints *nats.Subscription) {
	t.Helper()
	_, err := hints.NextMsg(30 * time.Second)
	require.NoError(t, err)
}

func TestAReplayThatCannotBeIsRefusedByField(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := c.webhook("enabled", false)
	ask := func(more ...any) *answer {
		body := map[string]any{"since": time.Now().Add(-time.Hour), "mode": "all"}
		for i := 0; i < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		return c.do("POST", "/v1/replays", body)
	}
	ask("since", time.Now().Add(time.Hour)).want(t, 422).names(t, "body.since")
	ask("until", time.Now().Add(-2*time.Hour)).want(t, 422).names(t, "body.since")
	ask("mode", "some").want(t, 422).names(t, "body.mode")
	ask("types", []string{"email.eaten"}).want(t, 422).names(t, "body.types[0]")
	ask("agent_ids", []string{"nobody@example.com"}).want(t, 422).names(t, "body.agent_ids")
	ask("webhook_id", events.NewRandom[events.WebhookKind]().String()).want(t, 404)
	require.Contains(t, ask("webhook_id", hook).want(t, 409).text("detail"), "disabled")
	c.do("POST", "/v1/replays", map[string]any{"mode": "all"}).want(t, 422).names(t, "body.since")
	for range replay.MaxActive {
		ask().want(t, 202)
	}
	require.Contains(t, ask().want(t, 409).text("detail"), "10 unfinished replays")
}

func TestFailedDeliveriesOfAWindowAreRetriedOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	hook, other := c.webhook(), c.webhook()
	insert := func(hook string, n int, status, kind, reason string, age time.Duration) {
		_, err := w.pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at,
				next_retry_at, finished_at, expires_at, seq, attempts, max_attempts, status, kind, event_type, last_error)
			SELECT gen_random_uuid(), at, $1, $2, gen_random_uuid(), at, CASE WHEN $4 = 'pending' THEN now() + interval '1 hour' END, now(),
				at + interval '30 days', i, 8, 8, $4, $5, CASE WHEN i % 2 = 0 THEN 'email.sent' ELSE 'email.received' END, $6
			FROM generate_series(1, $3::int) AS i, LATERAL (SELECT now() - make_interval(secs => $7) - i * interval '1 ms' AS at) AS a`,
			id[events.WebhookKind](t, hook), id[events.TenantKind](t, c.tenantID), n, status, kind, reason, age.Seconds())
		require.NoError(t, err)
	}
	insert(hook, 1500, "failed", "live", "answered 500", time.Minute)
	insert(hook, 30, "failed", "live", "answered 500", 2*time.Hour)
	insert(hook, 10, "delivered", "live", "", time.Minute)
	insert(hook, 10, "failed", "test", "answered 500", time.Minute)
	insert(hook, 10, "failed", "replay", "cancelled", time.Minute)
	insert(hook, 4, "failed", "replay", "answered 500", time.Minute)
	insert(other, 10, "failed", "live", "answered 500", time.Minute)
	retry := func(more map[string]any) (n, calls int) {
		body := map[string]any{"since": time.Now().Add(-time.Hour)}
		for k, v := range more {
			body[k] = v
		}
		for {
			a := c.do("POST", "/v1/webhooks/"+hook+"/retry", body).want(t, 200)
			n += int(a.json["retried"].(float64))
			calls++
			if a.json["next_cursor"] == nil {
				return n, calls
			}
			body["cursor"] = a.json["next_cursor"]
		}
	}
	n, _ := retry(map[string]any{"event_type": "email.sent"})
	require.Equal(t, 752, n)
	n, calls := retry(nil)
	require.Equal(t, 752, n, "the remaining deliveries")
	n, _ = retry(nil)
	require.Zero(t, n, "a second call finds nothing")
	require.Positive(t, calls)
	n, _ = retry(map[string]any{"since": time.Now().Add(-3 * time.Hour), "until": time.Now().Add(-time.Hour)})
	require.Equal(t, 30, n)
	var due, more int
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE next_retry_at <= now() AND max_attempts = 16 AND finished_at IS NULL), count(*)
		FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending'`).Scan(&due, &more))
	require.Equal(t, []int{1534, 1534}, []int{due, more})
	c.do("POST", "/v1/webhooks/"+hook+"/retry", map[string]any{}).want(t, 422).names(t, "body.since")
	c.do("POST", "/v1/webhooks/"+hook+"/retry", map[string]any{"since": time.Now(), "cursor": "x"}).want(t, 422).names(t, "body.cursor")
}
