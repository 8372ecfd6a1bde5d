package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/test/dnstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// narrow is a pool of so many connections.
func narrow(t *testing.T, conns int32) *pgxpool.Pool {
	t.Helper()
	c, err := pgxpool.ParseConfig(pgtest.URL(t))
	require.NoError(t, err)
	c.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// silentDNS takes questions and answers none.
func silentDNS(t *testing.T) (string, *atomic.Int64) {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	var count atomic.Int64
	go func() {
		for b := make([]byte, 1500); ; {
			if _, _, err := conn.ReadFrom(b); err != nil {
				return
			}
			count.Add(1)
		}
	}()
	return conn.LocalAddr().String(), &count
}

func TestNoTenantStopsTheOthersByVerifyingDomains(t *testing.T) {
	t.Parallel()
	server, asked := silentDNS(t)
	w := start(t, func(o *api.Options) { o.Pool, o.DNSServer = narrow(t, 2), server })
	c, other := w.stranger(), w.tenant()
	c.do("POST", "/v1/domains", map[string]any{"domain": "example.net"}).want(t, 201)
	waits, stop := context.WithCancel(t.Context())
	ended, refused := make(chan int, 40), 0
	for n := range 40 {
		go func() {
			r, err := http.NewRequestWithContext(waits, http.MethodPost, w.url+"/v1/domains/example.net/verify", nil)
			if err != nil {
				ended <- 0
				return
			}
			r.Header.Set("Authorization", "Bearer "+c.key)
			r.Header.Set("Idempotency-Key", fmt.Sprint(n))
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				ended <- 0
				return
			}
			_ = resp.Body.Close()
			ended <- resp.StatusCode
		}()
	}
	require.Eventually(t, func() bool { return asked.Load() >= 4 }, time.Minute, time.Millisecond, "four lookups run")
	for range 10 {
		other.do("GET", "/v1/agents", nil).want(t, 200)
	}
	require.Eventually(t, func() bool { return w.pool.Stat().AcquiredConns() == 0 }, time.Minute, time.Millisecond,
		"requests that wait for DNS hold no connection")
	stop()
	for range 40 {
		if status := <-ended; status == http.StatusTooManyRequests {
			refused++
		}
	}
	require.GreaterOrEqual(t, refused, 20, "the others are refused at once")
}

// With one connection, a handler that takes a second one waits for ever.
func TestNoHandlerHoldsTwoConnections(t *testing.T) {
	t.Parallel()
	z := &zone{txt: map[string]string{}}
	server, _ := dnstest.ServeFunc(t, z.answer)
	w := start(t, func(o *api.Options) { o.Pool, o.DNSServer = narrow(t, 1), server })
	c := w.tenant()
	n := 0
	once := func(from client, path string, body any, status int) *answer {
		t.Helper()
		n++
		key := fmt.Sprint("k", n)
		made := from.do("POST", path, body, "Idempotency-Key", key).want(t, status)
		again := from.do("POST", path, body, "Idempotency-Key", key).want(t, status)
		require.Equal(t, string(made.raw), string(again.raw))
		require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
		return made
	}
	once(w.operator, "/v1/tenants", map[string]any{"name": "n"}, 201)
	once(w.operator, "/v1/keys", map[string]any{"tenant_id": c.tenantID}, 201)
	once(w.operator, "/v1/domains", map[string]any{"tenant_id": c.tenantID, "domain": "given.example"}, 201)
	second := once(c, "/v1/keys", map[string]any{"name": "second"}, 201).text("id")
	once(c, "/v1/keys/"+second+"/rotate", nil, 200)
	once(c, "/v1/agents", map[string]any{"address": "a@example.com", "webhook_url": hookURL}, 201)
	claimed := once(c, "/v1/domains", map[string]any{"domain": "example.net"}, 201)
	z.set("_fanmail.example.net", claimed.json["record"].(map[string]any)["value"].(string))
	once(c, "/v1/domains/example.net/verify", nil, 200)
	hook := once(c, "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.received"}, "filters": map[string]any{"agent_ids": []string{"a@example.com"}}}, 201).text("id")
	once(c, "/v1/portal-links", map[string]any{"webhook_ids": []string{hook}}, 201)
	once(c, "/v1/webhooks/"+hook+"/rotate-secret", nil, 200)
	test := once(c, "/v1/webhooks/"+hook+"/test", nil, 202)
	once(c, "/v1/webhooks/"+hook+"/retry", map[string]any{"since": "2020-01-01T00:00:00Z"}, 200)
	once(c, "/v1/deliveries/"+test.text("id")+"/retry", nil, 200)
	once(c, "/v1/event-types", map[string]any{"name": "order.created", "schema": map[string]any{"required": []string{"id"}}, "sample": map[string]any{"id": 1}}, 201)
	once(c, "/v1/events", map[string]any{"type": "order.created", "data": map[string]any{"id": 2}}, 202)
	pulled := once(c, "/v1/webhooks", map[string]any{"kind": "pull", "ordering": "strict", "events": []string{"email.sent"}}, 201).text("id")
	polled := once(c, "/v1/webhooks/"+pulled+"/test", nil, 202).text("id")
	require.Equal(t, []string{polled}, c.do("GET", "/v1/webhooks/"+pulled+"/poll", nil).want(t, 200).ids(t, "delivery_id"))
	once(c, "/v1/webhooks/"+pulled+"/ack", map[string]any{"delivery_ids": []string{polled}}, 200)
	require.Empty(t, c.do("GET", "/v1/webhooks/"+pulled+"/poll?wait=1", nil).want(t, 200).ids(t, "delivery_id"))
	event := once(c, "/v1/events", map[string]any{"type": "email.received", "agent_id": "a@example.com", "data": map[string]any{}}, 202).text("id")
	once(c, "/v1/events/"+event+"/redeliver", map[string]any{"webhook_id": hook}, 202)
	once(c, "/v1/replays", map[string]any{"since": "2020-01-01T00:00:00Z", "mode": "all"}, 202)
	message := "/v1/messages/" + insertMessage(t.Context(), t, w, c, event, fmt.Appendf(nil, parcel, "x"))
	doomed := w.tenant()
	w.operator.do("DELETE", "/v1/tenants/"+doomed.tenantID, nil).want(t, 202)
	once(w.operator, "/v1/tenants/"+doomed.tenantID+"/restore", nil, 200)
	once(c, "/v1/erasures", map[string]any{"address": "ann@shop.example"}, 202)
	n += 3
	preview := map[string]any{"since": "2020-01-01T00:00:00Z", "mode": "missed"}
	c.do("POST", "/v1/replays/preview", preview, "Idempotency-Key", "preview").want(t, 200) // it changes nothing
	c.do("POST", message+"/retry", nil, "Idempotency-Key", "retry").want(t, 409)            // it has no delivery
	c.do("POST", message+"/deliver", nil, "Idempotency-Key", "deliver").want(t, 503)        // no dispatcher runs

	// Every POST of the document was called.
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	raw, err := api.OpenAPI()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &doc))
	posts := 0
	for path, methods := range doc.Paths {
		if _, ok := methods["post"]; ok && strings.HasPrefix(path, "/v1/") {
			posts++
		}
	}
	require.Equal(t, 22, posts, "a new POST needs a call above")
	w.setQuota(c, map[string]any{"agents": 10})
	for _, path := range []string{
		"/v1/tenants/" + c.tenantID + "/quota", "/v1/keys", "/v1/agents", "/v1/domains", "/v1/webhooks", "/v1/webhooks/" + hook,
		"/v1/webhooks/" + hook + "/deliveries", "/v1/deliveries/" + test.text("id"), "/v1/events", "/v1/events/" + event, "/v1/replays",
	} {
		c.do("GET", path, nil).want(t, 200)
	}
	c.do("PATCH", "/v1/agents/a@example.com", map[string]any{"webhook_url": nil}).want(t, 200)
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": false}).want(t, 200)
	c.do("DELETE", "/v1/webhooks/"+hook, nil).want(t, 204)
	c.do("DELETE", "/v1/agents/a@example.com", nil).want(t, 204)
}

func TestNoTenantStopsTheOthersByEventsThatTakeLongToCompare(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.Pool = narrow(t, 2) })
	c, other := w.tenant(), w.tenant()
	schema := `{"properties":{"a":{"items":{"allOf":[` + strings.Repeat(`{"type":"string"},`, 899) + `{"type":"string"}]}}}}`
	c.do("POST", "/v1/event-types", map[string]any{"name": "order.created", "schema": json.RawMessage(schema)}).want(t, 201)
	event := map[string]any{"type": "order.created", "data": json.RawMessage(`{"a":[` + strings.Repeat(`"x",`, 260) + `"x"]}`)}
	const all = 40
	answers := make(chan *answer, all)
	for range all {
		go func() { answers <- c.do("POST", "/v1/events", event) }()
	}
	left, refused := all, 0
	for ; refused < all-eventschema.MaxWaiting-4; left-- { // some may end meanwhile, and others come in
		require.Positive(t, left, "few may wait, and the others are refused at once")
		if a := <-answers; a.status == http.StatusTooManyRequests {
			require.Contains(t, a.text("detail"), "8 events or samples of this tenant")
			require.NotEmpty(t, a.header.Get("Retry-After"))
			refused++
		} else {
			a.want(t, 202)
		}
	}
	require.Eventually(t, func() bool { return w.pool.Stat().AcquiredConns() == 0 }, time.Minute, time.Millisecond)
	other.do("GET", "/v1/agents", nil).want(t, 200)
	c.do("PATCH", "/v1/event-types/order.created", map[string]any{"description": "Waits for nothing: it has no sample."}).want(t, 200)
	require.Less(t, len(answers), left, "events that wait for their turn hold no connection")
}
