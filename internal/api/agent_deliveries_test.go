package api_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestDeliveriesToAgentsAreReadRetriedAndMadeOnRequest(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC = nc })
	c, stranger := w.tenant(), w.tenant()
	receiver := sink.New(t)
	const address = "owner@example.com"
	c.do("POST", "/v1/agents", map[string]any{"address": address}).want(t, 201)
	list := "/v1/agents/" + address + "/deliveries"
	require.Empty(t, c.do("GET", list, nil).want(t, 200).json["data"])
	message := insertMessage(t.Context(), t, w, c, c.event(), fmt.Appendf(nil, parcel, "x"))
	path := "/v1/messages/" + message
	require.NotContains(t, c.do("GET", path, nil).want(t, 200).json, "delivery")
	c.do("POST", path+"/retry", nil).want(t, 409)
	require.Equal(t, "1", c.do("POST", path+"/deliver", nil).want(t, 503).header.Get("Retry-After"), "no dispatcher runs")

	d := agentwebhook.New(w.pool, nc, agentwebhook.Options{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Drain: 2 * time.Second})
	running(t, d.Run)
	require.Eventually(t, func() bool { // it listens
		return c.do("POST", path+"/deliver", nil).status == 409 // the agent has no webhook
	}, 30*time.Second, 20*time.Millisecond)
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.agents SET webhook_url = $1`, receiver.URL("/a"))
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `UPDATE fanmail.events SET envelope = convert_to(format('{"type":"email.received","id":"evt_0123456789abcdef0123456789abcdef","created_at":"2026-01-01T00:00:00Z","schema_version":"1","data":{"message_id":"%s","received_at":"2026-01-01T00:00:00Z"}}', $1::text), 'UTF8')`, message)
	require.NoError(t, err)
	receiver.Script("/a", sink.FailFirst(1, sink.Answer{Status: 418}))
	failed := c.do("POST", path+"/deliver", nil, "Idempotency-Key", "one").want(t, 200)
	require.Equal(t, false, failed.json["success"])
	require.EqualValues(t, 418, failed.json["status_code"])
	require.Equal(t, "answered 418", failed.json["error"])
	delivery, ok := failed.json["delivery"].(map[string]any)
	require.True(t, ok)
	require.Equal(t, "pending", delivery["status"])
	require.EqualValues(t, 1, delivery["attempts"])
	again := c.do("POST", path+"/deliver", nil, "Idempotency-Key", "one").want(t, 200)
	require.JSONEq(t, string(failed.raw), string(again.raw), "the same answer, and no second attempt")
	require.Equal(t, 1, receiver.CountTo("/a"))

	names := []string{"agent_id", "message_id", "status", "attempts", "max_attempts", "last_error", "last_attempt_at", "next_retry_at", "created_at", "expires_at"}
	require.Len(t, delivery, len(names))
	for _, name := range names {
		require.Contains(t, delivery, name)
	}
	require.Equal(t, delivery, c.do("GET", path, nil).want(t, 200).json["delivery"])
	listed := c.do("GET", "/v1/agents/OWNER@example.com/deliveries?status=pending", nil).want(t, 200)
	require.Equal(t, []any{delivery}, listed.json["data"])
	require.Empty(t, c.do("GET", list+"?status=delivered", nil).want(t, 200).json["data"])
	c.do("GET", list+"?status=lost", nil).want(t, 422).names(t, "query.status")

	retried := c.do("POST", path+"/retry", nil).want(t, 200)
	require.Equal(t, "pending", retried.text("status"))
	require.Eventually(t, func() bool { // the dispatcher attempts it
		return c.do("GET", path, nil).json["delivery"].(map[string]any)["status"] == "delivered"
	}, 30*time.Second, 20*time.Millisecond)
	require.Equal(t, 2, receiver.CountTo("/a"))
	c.do("POST", path+"/retry", nil).want(t, 409)
	c.do("POST", path+"/deliver", nil).want(t, 409)

	for _, call := range [][2]string{{"GET", list}, {"GET", path}, {"POST", path + "/retry"}, {"POST", path + "/deliver"}} {
		stranger.do(call[0], call[1], nil).want(t, 404)
	}
	require.Equal(t, 2, receiver.CountTo("/a"))
}

// running runs f until the test ends.
func running(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
}
