package api_test

import (
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

func TestLaneSaysHowFarBehindTheWebhookIs(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC = nc })
	c := w.tenant()
	hook := c.webhook()
	c.do("GET", "/v1/webhooks/"+hook+"/lane", nil).want(t, 503)

	sub, err := nc.Subscribe(events.AskLanePrefix+"*", func(m *nats.Msg) {
		answer, err := json.Marshal(subscribers.LaneState{Owner: "somebody", State: subscribers.LaneActive, PerSecond: 4})
		if err == nil {
			_ = m.Respond(answer)
		}
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	require.NoError(t, nc.Flush())
	view := c.do("GET", "/v1/webhooks/"+hook+"/lane", nil).want(t, 200)
	require.Equal(t, map[string]any{"pending": 0.0, "more": false, "due": 0.0}, view.json["backlog"])
	c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202)
	c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202)
	view = c.do("GET", "/v1/webhooks/"+hook+"/lane", nil).want(t, 200)
	backlog, ok := view.json["backlog"].(map[string]any)
	require.True(t, ok, view.json)
	require.Equal(t, 2.0, backlog["pending"])
	require.Equal(t, 2.0, backlog["due"])
	require.Equal(t, 0.5, backlog["seconds_left"])
	require.NotEmpty(t, backlog["oldest"])
	require.Equal(t, "somebody", view.json["owner"])
	w.tenant().do("GET", "/v1/webhooks/"+hook+"/lane", nil).want(t, 404)
}
