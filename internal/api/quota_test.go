package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// more creates n further keys of the client's tenant.
func (c client) more(n int) []client {
	c.w.t.Helper()
	out := make([]client, n)
	for i := range out {
		out[i] = client{w: c.w, tenantID: c.tenantID, key: c.do("POST", "/v1/keys", map[string]any{}).want(c.w.t, 201).text("secret")}
	}
	return out
}

func (w *world) setQuota(c client, change map[string]any) *answer {
	w.t.Helper()
	return w.operator.do("PATCH", "/v1/tenants/"+c.tenantID+"/quota", change).want(w.t, 200)
}

func TestKeysDoNotMultiplyATenantsRequests(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	keys := c.more(20)
	w.setQuota(c, map[string]any{"requests_per_second": 5})
	began := time.Now()
	passed := 0
	for range 10 {
		for _, k := range keys {
			a := k.do("GET", "/v1/agents", nil)
			if a.status == 200 {
				passed++
				continue
			}
			a.want(t, 429)
			require.Contains(t, a.text("detail"), "quota requests_per_second")
			require.NotEmpty(t, a.header.Get("Retry-After"))
			require.Equal(t, "10", a.header.Get("RateLimit-Limit"))
		}
	}
	require.LessOrEqual(t, float64(passed), 10+5*time.Since(began).Seconds()+1, "a burst and five a second, with twenty keys")
	other.do("GET", "/v1/agents", nil).want(t, 200)
	// A change holds at once.
	w.setQuota(c, map[string]any{"requests_per_second": nil})
	require.Empty(t, keys[0].do("GET", "/v1/agents", nil).want(t, 200).header.Get("RateLimit-Limit"))
}

func TestKeysDoNotMultiplyATenantsStreams(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC, o.JS = nc, js })
	c := w.tenant()
	w.setQuota(c, map[string]any{"event_streams": 2})
	keys := c.more(3)
	keys[0].openTail(t)
	keys[1].openTail(t)
	for _, k := range keys {
		require.Contains(t, k.do("GET", "/v1/events/tail", nil).want(t, 429).text("detail"), "quota event_streams")
		require.Equal(t, "60", k.do("GET", "/v1/events/tail", nil).want(t, 429).header.Get("Retry-After"))
	}
	w.tenant().openTail(t)
	used := w.operator.do("GET", "/v1/tenants/"+c.tenantID+"/quota", nil).want(t, 200).json["used"].(map[string]any)
	require.EqualValues(t, 2, used["event_streams"])
}

// The counts are exact under concurrency.
func TestWhatATenantMayHaveIsBounded(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	w := start(t, func(o *api.Options) { o.Registerer = reg })
	c, other := w.tenant(), w.tenant()
	w.setQuota(c, map[string]any{"keys": 4, "agents": 4, "webhooks": 4, "replays_per_hour": 4})
	c.do("POST", "/v1/agents", map[string]any{"address": "first@example.com"}).want(t, 201)
	c.webhook()
	c.do("POST", "/v1/replays", map[string]any{"since": "2020-01-01T00:00:00Z", "mode": "all"}).want(t, 202)
	for _, r := range []struct {
		from   client
		path   string
		body   func(n int) map[string]any
		name   string
		status int
	}{
		{c, "/v1/keys", func(int) map[string]any { return map[string]any{} }, "quota keys", 409},
		{w.operator, "/v1/keys", func(int) map[string]any { return map[string]any{"tenant_id": c.tenantID} }, "quota keys", 409},
		{c, "/v1/agents", func(n int) map[string]any { return map[string]any{"address": fmt.Sprintf("a%d@example.com", n)} }, "quota agents", 409},
		{c, "/v1/webhooks", func(int) map[string]any { return map[string]any{"url": hookURL, "events": []string{"email.sent"}} }, "4 webhooks", 409},
		{c, "/v1/replays", func(int) map[string]any { return map[string]any{"since": "2020-01-01T00:00:00Z", "mode": "all"} }, "quota replays_per_hour", 429},
	} {
		var made, refused int
		var mu sync.Mutex
		var all sync.WaitGroup
		for n := range 12 {
			all.Go(func() {
				a := r.from.do("POST", r.path, r.body(n))
				mu.Lock()
				defer mu.Unlock()
				if a.status < 300 {
					made++
				} else if a.status == r.status && strings.Contains(a.text("detail"), r.name) {
					refused++
				} else {
					t.Errorf("%s: %d %s", r.path, a.status, a.raw)
				}
			})
		}
		all.Wait()
		want := 3
		if r.from.key == w.operator.key {
			want = 0 // the tenant has used it up
		}
		require.Equal(t, want, made, r.path)
		require.Equal(t, 12-want, refused, r.path)
	}
	other.do("POST", "/v1/keys", map[string]any{}).want(t, 201)
	w.operator.do("POST", "/v1/keys", map[string]any{}).want(t, 201)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP fanmail_api_over_quota_total Requests rejected because the tenant's quota is used up, by limit. Requests a second are in fanmail_api_rate_limited_total.
# TYPE fanmail_api_over_quota_total counter
fanmail_api_over_quota_total{quota="agents"} 9
fanmail_api_over_quota_total{quota="bytes_per_day"} 0
fanmail_api_over_quota_total{quota="changes_per_day"} 0
fanmail_api_over_quota_total{quota="domains"} 0
fanmail_api_over_quota_total{quota="event_streams"} 0
fanmail_api_over_quota_total{quota="events_per_day"} 0
fanmail_api_over_quota_total{quota="events_per_second"} 0
fanmail_api_over_quota_total{quota="webhooks"} 9
fanmail_api_over_quota_total{quota="keys"} 21
fanmail_api_over_quota_total{quota="replays_per_hour"} 9
`), "fanmail_api_over_quota_total"))
	// A revoked key makes room.
	c.do("DELETE", "/v1/keys/"+c.do("GET", "/v1/keys", nil).ids(t, "id")[0], nil).want(t, 204)
	c.do("POST", "/v1/keys", map[string]any{}).want(t, 201)
}

// TestEventsASecondAreBoundedAndComeBack also for all keys of the tenant together.
func TestEventsASecondAreBoundedAndComeBack(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	w.setQuota(c, map[string]any{"events_per_second": 1})
	event := map[string]any{"type": "email.received", "data": map[string]any{}}
	var refused *answer
	require.Eventually(t, func() bool { // the third at once is above it, if the machine is fast enough
		refused = c.do("POST", "/v1/events", event)
		return refused.status == 429
	}, 60*time.Second, time.Millisecond)
	require.Contains(t, refused.text("detail"), "quota events_per_second: this tenant may create 1 events a second, and 2 at once")
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	require.Eventually(t, func() bool { return c.do("POST", "/v1/events", event).status == 202 }, 60*time.Second, 50*time.Millisecond)
	w.tenant().event() // others are not concerned
	w.setQuota(c, map[string]any{"events_per_second": nil})
	for range 10 {
		c.event()
	}
}

// Two processes count together.
func TestEventsAndBytesOfADayAreBounded(t *testing.T) {
	t.Parallel()
	w := start(t)
	h, err := api.NewHandler(api.Options{Pool: w.pool})
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	second := *w
	second.url = srv.URL
	for name, change := range map[string]map[string]any{
		"events_per_day": {"events_per_day": 10},
		"bytes_per_day":  {"bytes_per_day": 10 * len(`{"data":{"n":1},"type":"email.received"}`)},
	} {
		here := w.tenant()
		there := client{w: &second, key: here.key, tenantID: here.tenantID}
		w.setQuota(here, change)
		for range 4 {
			here.event()
		}
		for range 4 {
			there.event()
		}
		// Each process knows of the other's events after a sync.
		require.Eventually(t, func() bool {
			known := 0
			for _, from := range []client{here, there} {
				used := client{w: from.w, key: w.operator.key}.do("GET", "/v1/tenants/"+here.tenantID+"/quota", nil).want(t, 200).json["used"].(map[string]any)
				if used["events_today"] == 8.0 {
					known++
				}
			}
			return known == 2
		}, time.Minute, 50*time.Millisecond)
		here.event()
		here.event()
		a := here.do("POST", "/v1/events", map[string]any{"type": "email.received", "data": map[string]any{"n": 1}}).want(t, http.StatusTooManyRequests)
		require.Contains(t, a.text("detail"), "quota "+name)
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		require.NoError(t, err)
		require.True(t, wait >= 1 && wait <= 24*60*60, "until the next UTC day: %d s", wait)
		require.Eventually(t, func() bool {
			w.operator.do("GET", "/v1/tenants/"+here.tenantID+"/quota", nil).want(t, 200) // a request adds what its process has counted
			return there.do("POST", "/v1/events", map[string]any{"type": "email.received", "data": map[string]any{"n": 1}}).status == 429
		}, time.Minute, 50*time.Millisecond)
		w.tenant().event()
		// On another day there is room again.
		_, err = w.pool.Exec(t.Context(), `UPDATE fanmail.tenant_usage SET day = day - 1`)
		require.NoError(t, err)
		fresh, err := api.NewHandler(api.Options{Pool: w.pool})
		require.NoError(t, err)
		again := httptest.NewServer(fresh)
		t.Cleanup(again.Close)
		third := *w
		third.url = again.URL
		client{w: &third, key: here.key}.event()
	}
}

func TestAQuotaIsReadAndChanged(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.RateLimit = 700 })
	c := w.tenant()
	path := "/v1/tenants/" + c.tenantID + "/quota"
	got := c.do("GET", path, nil).want(t, 200)
	require.Equal(t, map[string]any{
		"requests_per_second": 700.0, "event_streams": 16.0, "keys": 100.0, "agents": 10_000.0, "webhooks": 50.0,
		"events_per_second": 5000.0, "events_per_day": 5_000_000.0, "bytes_per_day": 21474836480.0, "replays_per_hour": 60.0, "domains": 100.0, "changes_per_day": 20_000.0,
		"event_days": 30.0, "delivery_days": 30.0, "mail_days": 30.0,
	}, got.json["limits"])
	require.Empty(t, got.json["set"])
	require.EqualValues(t, 1, got.json["used"].(map[string]any)["keys"])
	changed := w.setQuota(c, map[string]any{"agents": 7, "keys": 9})
	require.Equal(t, []any{"keys", "agents"}, changed.json["set"])
	require.EqualValues(t, 7, changed.json["limits"].(map[string]any)["agents"])
	changed = w.setQuota(c, map[string]any{"agents": nil})
	require.Equal(t, []any{"keys"}, changed.json["set"])
	require.EqualValues(t, 10_000, changed.json["limits"].(map[string]any)["agents"])
	w.setQuota(c, map[string]any{})

	c.do("PATCH", path, map[string]any{"agents": 1_000}).want(t, 403)
	w.operator.do("PATCH", path, map[string]any{"agents": 0}).want(t, 422).names(t, "body.agents")
	w.operator.do("PATCH", path, map[string]any{"mails": 1}).want(t, 422).names(t, "body.mails")
	w.operator.do("GET", "/v1/tenants/ten_00000000000000000000000000000001/quota", nil).want(t, 404)
	w.operator.do("PATCH", "/v1/tenants/ten_00000000000000000000000000000001/quota", map[string]any{"agents": 1}).want(t, 404)
}

func TestATenantsRetentionIsShorterThanTheInstallations(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	w := start(t, func(o *api.Options) { o.Kept = retention.Policy{Events: 14 * day, Mail: 10 * day} })
	c, other := w.tenant(), w.tenant()
	path := "/v1/tenants/" + c.tenantID + "/quota"
	days := func(of client) []any {
		limits := of.do("GET", "/v1/tenants/"+of.tenantID+"/quota", nil).want(t, 200).json["limits"].(map[string]any)
		return []any{limits["event_days"], limits["delivery_days"], limits["mail_days"]}
	}
	require.Equal(t, []any{14.0, 14.0, 10.0}, days(c), "deliveries are kept no longer than events")
	a := w.setQuota(c, map[string]any{"event_days": 7, "mail_days": 3})
	require.Equal(t, []any{"event_days", "mail_days"}, a.json["set"])
	require.Equal(t, []any{7.0, 7.0, 3.0}, days(c))
	require.Equal(t, []any{14.0, 14.0, 10.0}, days(other))
	for name, most := range map[string]int{"event_days": 14, "delivery_days": 14, "mail_days": 10} {
		a := w.operator.do("PATCH", path, map[string]any{name: most + 1}).want(t, 422)
		a.names(t, "body."+name)
		require.Contains(t, string(a.raw), fmt.Sprintf("keeps them for %d days", most))
		w.operator.do("PATCH", path, map[string]any{name: 2}).want(t, 422)
		w.setQuota(c, map[string]any{name: most})
		w.setQuota(c, map[string]any{name: nil})
	}
	require.Equal(t, []any{14.0, 14.0, 10.0}, days(c))
	c.do("PATCH", path, map[string]any{"event_days": 3}).want(t, 403)
}
