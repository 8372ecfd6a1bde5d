package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// pull creates a webhook of kind pull and returns its id.
func (c client) pull(more ...any) string {
	c.w.t.Helper()
	body := map[string]any{"kind": "pull", "events": []string{"email.received"}}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return c.do("POST", "/v1/webhooks", body).want(c.w.t, 201).text("id")
}

func TestAConsumerPollsAndAcknowledgesWithAKeyThatDoesNothingElse(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	made := c.do("POST", "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"email.received"}}).want(t, 201)
	hook := "/v1/webhooks/" + made.text("id")
	require.NotContains(t, made.json, "signing_secret")
	require.Equal(t, "pull", made.json["kind"])
	require.Empty(t, made.json["url"])
	consumer := client{w: w, tenantID: c.tenantID, key: c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"consume"}}).want(t, 201).text("secret")}
	reader := client{w: w, key: c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"read", "replay"}}).want(t, 201).text("secret")}

	require.Empty(t, consumer.do("GET", hook+"/poll", nil).want(t, 200).ids(t, "delivery_id"))
	tested := c.do("POST", hook+"/test", map[string]any{"data": map[string]any{"html": "<b>&amp;</b>"}}).want(t, 202).text("id")
	polled := consumer.do("GET", hook+"/poll?lease=60&limit=5", nil).want(t, 200)
	var list struct {
		Data []struct {
			DeliveryID  string          `json:"delivery_id"`
			EventID     string          `json:"event_id"`
			Attempt     int             `json:"attempt"`
			LeasedUntil time.Time       `json:"leased_until"`
			Envelope    json.RawMessage `json:"envelope"`
		} `json:"data"`
	}
	require.NoError(t, json.Unmarshal(polled.raw, &list))
	require.Len(t, list.Data, 1)
	d := list.Data[0]
	require.Equal(t, tested, d.DeliveryID)
	require.Equal(t, 1, d.Attempt)
	require.WithinDuration(t, time.Now().Add(time.Minute), d.LeasedUntil, 50*time.Second)
	var envelope []byte
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT envelope FROM fanmail.events WHERE id = $1`, id[events.EventKind](t, d.EventID)).Scan(&envelope))
	require.Equal(t, string(envelope), string(d.Envelope), "byte for byte")

	done := map[string]any{"delivery_ids": []string{tested}}
	reader.do("GET", hook+"/poll", nil).want(t, 403)
	reader.do("POST", hook+"/ack", done).want(t, 403)
	w.operator.do("GET", hook+"/poll?tenant_id="+c.tenantID, nil).want(t, 403)
	for _, path := range []string{hook, "/v1/webhooks", "/v1/events", "/v1/deliveries/" + tested} {
		consumer.do("GET", path, nil).want(t, 403)
	}
	other.do("GET", hook+"/poll", nil).want(t, 404)
	other.do("POST", hook+"/ack", done).want(t, 404)
	other.do("POST", "/v1/webhooks/"+other.pull()+"/ack", done).want(t, 404)

	require.Equal(t, map[string]any{"delivered": 1.0, "failed": 0.0, "released": 0.0, "unchanged": 0.0}, consumer.do("POST", hook+"/ack", done).want(t, 200).json)
	require.Equal(t, 1.0, consumer.do("POST", hook+"/ack", done).want(t, 200).json["unchanged"])
	require.Equal(t, "delivered", c.do("GET", "/v1/deliveries/"+tested, nil).want(t, 200).text("status"))
	c.do("GET", "/v1/deliveries/"+tested+"/request", nil).want(t, 409)
	require.NotEmpty(t, c.do("GET", hook, nil).want(t, 200).text("last_polled_at"))
	var logged int
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.audit_log WHERE operation IN ('poll-webhook', 'ack-webhook')`).Scan(&logged))
	require.Zero(t, logged, "they are called for each event")
}

func TestWrongPollsAndAcknowledgementsNameTheField(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := "/v1/webhooks/" + c.pull()
	for query, field := range map[string]string{"limit=0": "query.limit", "limit=101": "query.limit", "wait=31": "query.wait", "wait=x": "query.wait", "lease=0": "query.lease", "lease=3601": "query.lease"} {
		c.do("GET", hook+"/poll?"+query, nil).want(t, 422).names(t, field)
	}
	c.do("POST", hook+"/ack", map[string]any{}).want(t, 422).names(t, "body.delivery_ids")
	d := c.do("POST", hook+"/test", nil).want(t, 202).text("id")
	c.do("POST", hook+"/ack", map[string]any{"delivery_ids": []string{d, d}}).want(t, 422).names(t, "body.delivery_ids")
	c.do("POST", hook+"/ack", map[string]any{"lease": "a", "failed": []any{map[string]any{"delivery_id": d, "reason": strings.Repeat("x", 501)}}}).want(t, 422).names(t, "body.failed[0].reason")
	c.do("POST", hook+"/ack", map[string]any{"delivery_ids": []string{d}, "lease": 1}).want(t, 422).names(t, "body.lease")
	c.do("POST", hook+"/ack", map[string]any{"delivery_ids": []string{d}, "lease": "!"}).want(t, 422).names(t, "body.lease")
	c.do("POST", hook+"/ack", map[string]any{"released": []string{d}}).want(t, 422).names(t, "body.lease")
	c.do("POST", hook+"/ack", map[string]any{"failed": []any{map[string]any{"delivery_id": d}}}).want(t, 422).names(t, "body.lease")
	for setting, value := range map[string]any{
		"url": hookURL, "headers": map[string]string{"X": "y"}, "auth": map[string]any{"type": "basic", "username": "u", "password": "p"}, "ca": "x", "timeout": 3,
		"max_in_flight": 2, "rate_limit": 2, "ed25519": true, "envelope": "v0.4", "paused": true,
	} {
		c.do("POST", "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"*"}, setting: value}).want(t, 422).names(t, "body."+setting)
		c.do("PATCH", hook, map[string]any{setting: value}).want(t, 422).names(t, "body."+setting)
	}
	c.do("POST", "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"*"}, "signing_secret": strings.Repeat("s", 16)}).want(t, 422).names(t, "body.signing_secret")
	c.do("POST", "/v1/webhooks", map[string]any{"events": []string{"*"}}).want(t, 422).names(t, "body.url")
	c.do("PATCH", hook, map[string]any{"kind": "push"}).want(t, 422).names(t, "body.kind")
	c.do("POST", hook+"/rotate-secret", nil).want(t, 409)
	c.do("GET", "/v1/webhooks/"+c.webhook()+"/poll", nil).want(t, 409)
	c.do("PATCH", hook, map[string]any{"enabled": false}).want(t, 200)
	c.do("GET", hook+"/poll?wait=30", nil).want(t, 409)
	require.Equal(t, 1.0, c.do("POST", hook+"/ack", map[string]any{"delivery_ids": []string{d}}).want(t, 200).json["delivered"], "what was polled before can be acknowledged")
}

func TestAWaitingPollHearsOfATestARetryAndAnAcknowledgement(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC = nc })
	c := w.tenant()
	hook := "/v1/webhooks/" + c.pull("ordering", "strict", "retry", map[string]any{"type": "list", "delays": []string{"24h"}})
	idle := nc.NumSubscriptions()
	wait := func() <-chan *answer {
		out := make(chan *answer, 1)
		before := nc.NumSubscriptions()
		go func() { out <- c.do("GET", hook+"/poll?wait=30", nil) }()
		require.Eventually(t, func() bool { return nc.NumSubscriptions() >= before+2 }, 20*time.Second, time.Millisecond, "it listens for deliveries, and for its key")
		return out
	}
	waits := wait()
	one := c.do("POST", hook+"/test", nil).want(t, 202).text("id")
	require.Equal(t, []string{one}, (<-waits).want(t, 200).ids(t, "delivery_id"))
	waits = wait()
	two := c.do("POST", hook+"/test", nil).want(t, 202).text("id")
	c.do("POST", hook+"/ack", map[string]any{"delivery_ids": []string{one}}).want(t, 200)
	polled := (<-waits).want(t, 200)
	require.Equal(t, []string{two}, polled.ids(t, "delivery_id"), "it was behind the first")
	c.do("POST", hook+"/ack", map[string]any{"lease": polled.each(t, "lease")[0], "failed": []any{map[string]any{"delivery_id": two}}}).want(t, 200)
	waits = wait()
	c.do("POST", "/v1/deliveries/"+two+"/retry", nil).want(t, 200)
	polled = (<-waits).want(t, 200)
	require.Equal(t, []string{two}, polled.ids(t, "delivery_id"))
	waits = wait()
	c.do("POST", hook+"/ack", map[string]any{"lease": polled.each(t, "lease")[0], "released": []string{two}}).want(t, 200)
	require.Equal(t, []string{two}, (<-waits).want(t, 200).ids(t, "delivery_id"))
	require.Equal(t, idle, nc.NumSubscriptions())
}

func TestAWaitingPollEndsWithItsKeyAndWithTheProcess(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	stopping := make(chan struct{})
	w := start(t, func(o *api.Options) { o.NC, o.Stopping = nc, stopping })
	c := w.tenant()
	hook := "/v1/webhooks/" + c.pull()
	w.operator.do("PATCH", "/v1/tenants/"+c.tenantID+"/quota", map[string]any{"event_streams": 2}).want(t, 200)
	key := c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"consume"}}).want(t, 201)
	consumer := client{w: w, key: key.text("secret")}
	idle := nc.NumSubscriptions()
	revoked, stopped := make(chan *answer, 1), make(chan *answer, 1)
	go func() { revoked <- consumer.do("GET", hook+"/poll?wait=30", nil) }()
	go func() { stopped <- c.do("GET", hook+"/poll?wait=30", nil) }()
	require.Eventually(t, func() bool { return nc.NumSubscriptions() == idle+4 }, 20*time.Second, time.Millisecond)
	c.do("GET", hook+"/poll?wait=1", nil).want(t, 429)
	c.do("GET", hook+"/poll", nil).want(t, 200)
	c.do("DELETE", "/v1/keys/"+key.text("id"), nil).want(t, 204)
	(<-revoked).want(t, 401)
	close(stopping)
	require.Empty(t, (<-stopped).want(t, 200).ids(t, "delivery_id"))
}

func TestPollsAndAcknowledgementsAreCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	w := start(t, func(o *api.Options) { o.Registerer = reg })
	c := w.tenant()
	hook := "/v1/webhooks/" + c.pull()
	for range 4 {
		c.do("POST", hook+"/test", nil).want(t, 202)
	}
	first := c.do("GET", hook+"/poll?limit=2&lease=1", nil).want(t, 200)
	ids := first.ids(t, "delivery_id")
	require.Len(t, ids, 2)
	require.Equal(t, []string{"false", "false"}, first.each(t, "polled_before"))
	others := c.do("GET", hook+"/poll", nil).want(t, 200)
	rest := others.ids(t, "delivery_id")
	require.Len(t, rest, 2)
	again := c.do("GET", hook+"/poll?wait=30", nil).want(t, 200)
	require.Equal(t, "true", again.each(t, "polled_before")[0], "its lease ran out")
	got := again.ids(t, "delivery_id")
	if len(got) == 1 { // the other lease ended a moment later
		got = append(got, c.do("GET", hook+"/poll?wait=30", nil).want(t, 200).ids(t, "delivery_id")...)
	}
	require.ElementsMatch(t, ids, got)
	c.do("POST", hook+"/ack", map[string]any{"delivery_ids": ids}).want(t, 200)
	c.do("POST", hook+"/ack", map[string]any{"delivery_ids": ids, "lease": others.each(t, "lease")[0], "failed": []any{map[string]any{"delivery_id": rest[0]}}, "released": rest[1:]}).want(t, 200)
	c.do("POST", hook+"/ack", map[string]any{"delivery_ids": []string{"whd_00000000000000000000000000000001"}}).want(t, 404)
	require.Equal(t, []string{"false"}, c.do("GET", hook+"/poll", nil).want(t, 200).each(t, "polled_before"), "it was given back")
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP fanmail_api_acknowledged_deliveries_total Polled deliveries that consumers acknowledged, by what became of them.
# TYPE fanmail_api_acknowledged_deliveries_total counter
fanmail_api_acknowledged_deliveries_total{outcome="delivered"} 2
fanmail_api_acknowledged_deliveries_total{outcome="failed"} 1
fanmail_api_acknowledged_deliveries_total{outcome="released"} 1
fanmail_api_acknowledged_deliveries_total{outcome="unchanged"} 2
# HELP fanmail_api_expired_leases_total Leases of polled deliveries that ran out without an acknowledgement, counted when the delivery is polled again.
# TYPE fanmail_api_expired_leases_total counter
fanmail_api_expired_leases_total 2
# HELP fanmail_api_polled_deliveries_total Deliveries leased to polls.
# TYPE fanmail_api_polled_deliveries_total counter
fanmail_api_polled_deliveries_total 7
`), "fanmail_api_acknowledged_deliveries_total", "fanmail_api_expired_leases_total", "fanmail_api_polled_deliveries_total"))
}

// With one connection to the database, and polls that wait, another request is answered.
func TestWaitingPollsHoldNoConnectionToTheDatabase(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	nc, _ := natstest.Connect(t)
	stopping := make(chan struct{})
	w := start(t, func(o *api.Options) { o.NC, o.Stopping, o.Registerer, o.Pool = nc, stopping, reg, narrow(t, 1) })
	c := w.tenant()
	hook := "/v1/webhooks/" + c.pull()
	const n = 50
	w.setQuota(c, map[string]any{"event_streams": n})
	waiting := func(want int) bool {
		return testutil.GatherAndCompare(reg, strings.NewReader(fmt.Sprintf(`
# HELP fanmail_api_waiting_polls Polls that wait for a delivery.
# TYPE fanmail_api_waiting_polls gauge
fanmail_api_waiting_polls %d
`, want)), "fanmail_api_waiting_polls") == nil
	}
	ended := make(chan *answer, n)
	for range n {
		go func() { ended <- c.do("GET", hook+"/poll?wait=30", nil) }()
	}
	require.Eventually(t, func() bool { return waiting(n) }, time.Minute, time.Millisecond)
	c.do("GET", "/v1/webhooks", nil).want(t, 200)
	require.Eventually(t, func() bool { return w.pool.Stat().AcquiredConns() == 0 }, time.Minute, time.Millisecond)
	require.Empty(t, ended, "all of them still wait")
	close(stopping)
	for range n {
		require.Empty(t, (<-ended).want(t, 200).ids(t, "delivery_id"))
	}
	require.True(t, waiting(0))
}

// Two replicas of the API serve eight consumers. One replica ends while its consumers hold deliveries: these come again.
func TestTwoReplicasServeEightConsumersAndEachDeliveryIsInOneHand(t *testing.T) {
	t.Parallel()
	const n = 5000
	url := natstest.URL(t)
	connect := func() *nats.Conn {
		nc, err := nats.Connect(url)
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	pool := pgtest.Pool(t)
	w := start(t, func(o *api.Options) { o.Pool, o.NC = pool, connect() })
	second, err := api.NewHandler(api.Options{Pool: pool, NC: connect()})
	require.NoError(t, err)
	srv := httptest.NewServer(second)
	t.Cleanup(srv.Close)
	c := w.tenant()
	hook := c.pull()
	_, err = pool.Exec(t.Context(), `WITH e AS (
			INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
			SELECT gen_random_uuid(), now(), $1, 'email.received', -n, convert_to('{"data":{"n":' || n || '}}', 'UTF8') FROM generate_series(1, $3) AS n RETURNING id, created_at, seq)
		INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT (lpad(to_hex((date_part('epoch', date_trunc('milliseconds', created_at)) * 1000)::bigint), 12, '0') || substr(md5(id::text), 1, 20))::uuid,
			created_at, $2, $1, id, created_at, now(), now() + interval '30 days', -seq, 8, 'email.received' FROM e`,
		id[events.TenantKind](t, c.tenantID), id[events.WebhookKind](t, hook), n)
	require.NoError(t, err)
	servers := []*client{&c, {w: &world{t: t, url: srv.URL}, key: c.key}}
	var mu sync.Mutex
	held, finished := map[string]bool{}, 0
	var group sync.WaitGroup
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	faults := make(chan string, 8)
	for i := range 8 {
		group.Go(func() {
			from := servers[i%2]
			for ctx.Err() == nil {
				list := call(from, "GET", "/v1/webhooks/"+hook+"/poll?limit=50", nil)
				ids := []string{}
				mu.Lock()
				for _, d := range list.Data {
					if held[d.DeliveryID] {
						faults <- d.DeliveryID + " is in two hands"
						stop()
					}
					held[d.DeliveryID] = true
					ids = append(ids, d.DeliveryID)
				}
				over := finished == n
				mu.Unlock()
				if over || list.Status != 200 {
					return
				}
				if len(ids) == 0 {
					continue
				}
				done := call(from, "POST", "/v1/webhooks/"+hook+"/ack", map[string]any{"delivery_ids": ids})
				if done.Delivered != len(ids) {
					faults <- fmt.Sprintf("%d of %d are delivered", done.Delivered, len(ids))
					stop()
				}
				mu.Lock()
				finished += len(ids)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	close(faults)
	for f := range faults {
		t.Error(f)
	}
	var delivered int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'delivered' AND attempts = 1`).Scan(&delivered))
	require.Equal(t, n, delivered)
}

// each returns a field of each delivery in the response to a poll, as text.
func (a *answer) each(t *testing.T, name string) (out []string) {
	t.Helper()
	for _, d := range a.json["data"].([]any) {
		out = append(out, fmt.Sprint(d.(map[string]any)[name]))
	}
	return out
}

// called is what the responses of a poll and of an acknowledgement have.
type called struct {
	Status    int
	Delivered int `json:"delivered"`
	Data      []struct {
		DeliveryID string `json:"delivery_id"`
	} `json:"data"`
}

func call(c *client, method, path string, in any) (out called) {
	a := c.do(method, path, in)
	_ = json.Unmarshal(a.raw, &out)
	out.Status = a.status
	return out
}
