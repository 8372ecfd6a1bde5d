package api_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// openTail opens a tail. The channel is closed when it has ended.
func (c client) openTail(t *testing.T) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.w.url+"/v1/events/tail", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	if resp.StatusCode != 200 {
		raw, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode, "%s", raw)
	}
	read := bufio.NewReader(resp.Body)
	line, err := read.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, ": watching\n", line)
	ended := make(chan struct{})
	go func() {
		defer cancel()
		defer close(ended)
		_, _ = io.Copy(io.Discard, read)
		_ = resp.Body.Close()
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return ended
}

// ends waits until tails have ended.
func ends(t *testing.T, tails ...<-chan struct{}) {
	t.Helper()
	for _, ended := range tails {
		select {
		case <-ended:
		case <-time.After(40 * time.Second): // less than the tail's own time
			t.Fatal("a revoked key keeps its tail")
		}
	}
}

func stillOpen(t *testing.T, tail <-chan struct{}) {
	t.Helper()
	select {
	case <-tail:
		t.Fatal("a tail of another key has ended")
	default:
	}
}

func TestRevocationEndsOpenTailsOnEveryReplica(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC, o.JS = nc, js })
	second, err := api.NewHandler(api.Options{Pool: w.pool, NC: nc, JS: js})
	require.NoError(t, err)
	srv := httptest.NewServer(second)
	t.Cleanup(srv.Close)
	replica := *w
	replica.url = srv.URL
	c := w.tenant()
	made := c.do("POST", "/v1/keys", map[string]any{}).want(t, 201)
	here := client{w: w, key: made.text("secret")}
	there := client{w: &replica, key: here.key}
	kept := c.openTail(t)
	first, other := here.openTail(t), there.openTail(t)
	told, err := nc.SubscribeSync("fanmail.wake.keys.*")
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	c.do("DELETE", "/v1/keys/"+made.text("id"), nil).want(t, 204)
	m, err := told.NextMsg(time.Minute)
	require.NoError(t, err, "the replicas are told, and do not wait for their next look")
	require.Equal(t, "fanmail.wake.keys."+made.text("id"), m.Subject)
	ends(t, first, other)
	stillOpen(t, kept)
	here.do("GET", "/v1/events/tail", nil).want(t, 401)
}

// Nobody tells the server: the row alone changes.
func TestARevocationThatNobodyToldOfEndsTailsToo(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC, o.JS = nc, js })
	c := w.tenant()
	made := c.do("POST", "/v1/keys", map[string]any{}).want(t, 201)
	kept := c.openTail(t)
	// A message without a revocation ends nothing.
	for _, k := range c.do("GET", "/v1/keys", nil).ids(t, "id") {
		require.NoError(t, nc.Publish("fanmail.wake.keys."+k, nil))
	}
	tail := client{w: w, key: made.text("secret")}.openTail(t)
	id, err := events.Parse[events.APIKeyKind](made.text("id"))
	require.NoError(t, err)
	require.NoError(t, tenancy.RevokeKey(context.Background(), w.pool, events.TenantID{}, id))
	ends(t, tail)
	stillOpen(t, kept)
}
