//go:build consolebench

package browser_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/test/sink"
)

const (
	loadDays    = 28
	loadHooks   = 20
	fanOut      = 5   // deliveries of each event
	liveRate    = 200 // deliveries a second
	liveSeconds = 15
	liveRounds  = 4 // of each kind, in turn, so that a change of the machine's load meets both
	pageSamples = 15
)

// loadEvents is how many events the tables get; each has five deliveries.
func loadEvents() int {
	if n, err := strconv.Atoi(os.Getenv("FANMAIL_CONSOLE_EVENTS")); err == nil {
		return n
	}
	return 2_000_000
}

// Of five events, the tenant that is looked at has three; fifty others share the rest.
const insertLoadEvents = `
INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, agent_id, envelope)
SELECT (ms || substr(md5(i || 'e' || at), 1, 20))::uuid, at, CASE WHEN i % 5 < 3 THEN $4::uuid ELSE md5('load ' || i % 50)::uuid END, 'email.received', -i - 1, $5,
	convert_to('{"id":"evt_' || ms || substr(md5(i || 'e' || at), 1, 20) || '","type":"email.received","data":{"subject":"Order ' || i || '","from":[{"name":"Ada","address":"ada@example.net"}]}}', 'UTF8')
FROM (SELECT i, at, lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms
	FROM (SELECT i, $2::timestamptz + ($3::timestamptz - $2::timestamptz) * (i::float8 / $1) AS at FROM generate_series(0, $1::int - 1) AS i) AS t) AS u`

const insertLoadDeliveries = `
INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, last_attempt_at, finished_at,
	expires_at, seq, attempts, max_attempts, last_status_code, status, event_type, last_error)
SELECT (substr(replace(id::text, '-', ''), 1, 12) || substr(md5(id::text || k), 1, 20))::uuid, created_at,
	CASE WHEN tenant_id = $3 THEN ($4::uuid[])[1 + (-seq + k * 4) % array_length($4, 1)] ELSE md5(tenant_id::text || k)::uuid END,
	tenant_id, id, created_at, created_at + interval '25 ms', created_at + interval '25 ms', created_at + interval '30 days', seq, 1, 8,
	CASE WHEN (seq + k) % 50 = 0 THEN 410 ELSE 200 END, CASE WHEN (seq + k) % 50 = 0 THEN 'failed' ELSE 'delivered' END, type,
	CASE WHEN (seq + k) % 50 = 0 THEN 'answered 410' END
FROM fanmail.events, generate_series(0, $5::int - 1) AS k WHERE created_at >= $1 AND created_at < $2 AND seq < 0`

// fill loads the tables day by day, two days at once.
func (f *firm) fill(t *testing.T, hooks []string) {
	t.Helper()
	ctx := t.Context()
	began := time.Now()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	exec := func(sql string, args ...any) {
		_, err := f.sys.pool.Exec(ctx, sql, args...)
		require.NoError(t, err, "%.100s", sql)
	}
	exec(`SELECT fanmail.make_partitions($1::date, $2)`, today.AddDate(0, 0, -loadDays), loadDays+3)
	exec(`INSERT INTO fanmail.tenants (id, name) SELECT md5('load ' || i)::uuid, 'load ' || i FROM generate_series(0, 49) AS i`)
	exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret)
		SELECT md5(md5('load ' || i)::uuid::text || k)::uuid, md5('load ' || i)::uuid, 'https://load.example.com/' || i || '/' || k, '{webhook.disabled}', 'whsec_`+
		`MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=' FROM generate_series(0, 49) AS i, generate_series(0, $1::int - 1) AS k`, fanOut)
	var group errgroup.Group
	group.SetLimit(2)
	for d := range loadDays {
		from := today.AddDate(0, 0, d-loadDays+1)
		to := from.AddDate(0, 0, 1)
		if d == loadDays-1 {
			to = time.Now().UTC().Add(-2 * time.Minute)
		}
		group.Go(func() error {
			if _, err := f.sys.pool.Exec(ctx, insertLoadEvents, loadEvents()/loadDays, from, to, raw(f.id), f.agent); err != nil {
				return err
			}
			_, err := f.sys.pool.Exec(ctx, insertLoadDeliveries, from, to, raw(f.id), hooks, fanOut)
			return err
		})
	}
	require.NoError(t, group.Wait())
	exec(`VACUUM (ANALYZE) fanmail.webhook_subscriber_deliveries`)
	exec(`VACUUM (ANALYZE) fanmail.events`)
	var n, size int64
	require.NoError(t, f.sys.pool.QueryRow(ctx, `SELECT count(*), pg_database_size(current_database()) FROM fanmail.webhook_subscriber_deliveries`).Scan(&n, &size))
	t.Logf("%d deliveries in %.0f s, %.1f GB", n, time.Since(began).Seconds(), float64(size)/1e9)
}

// raw is an id's UUID as text.
func raw(id string) string {
	_, id, _ = strings.Cut(id, "_")
	b, err := hex.DecodeString(id)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// reader is somebody who is signed in.
type reader struct {
	t      testing.TB
	base   string
	cookie string
	status *sync.Map // the last status of each path: a search for an id is a redirect
}

func newReader(t testing.TB, base, key string) *reader {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, base+consolePath+"/sign-in", strings.NewReader(url.Values{"key": {key}}.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", base)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NotEmpty(t, resp.Cookies(), "sign in: %s", resp.Status)
	c := resp.Cookies()[0]
	return &reader{t: t, base: base, cookie: c.Name + "=" + c.Value, status: &sync.Map{}}
}

// read loads a page and returns how long that took.
func (r *reader) read(path string) time.Duration {
	req, err := http.NewRequest(http.MethodGet, r.base+path, nil)
	require.NoError(r.t, err)
	req.Header.Set("Cookie", r.cookie)
	began := time.Now()
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(r.t, err)
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	took := time.Since(began)
	if resp.StatusCode >= http.StatusInternalServerError {
		r.t.Errorf("%s: %s", path, resp.Status)
	}
	r.status.Store(path, resp.StatusCode)
	return took
}

// traffic is the deliveries that arrived in an interval.
type traffic struct {
	perSecond float64
	p50, p99  time.Duration
}

// mean is the mean of each figure over the rounds.
func mean(rounds []traffic) (m traffic) {
	n := len(rounds)
	for _, r := range rounds {
		m.perSecond += r.perSecond / float64(n)
		m.p50 += r.p50 / time.Duration(n)
		m.p99 += r.p99 / time.Duration(n)
	}
	return m
}

// produce sends events at liveRate for some seconds and returns what arrived.
func produce(t testing.TB, f *firm, seconds int, during func(ctx context.Context)) traffic {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	was := f.receivers.CountTo("/live")
	var mu sync.Mutex
	var took []time.Duration
	f.receivers.Script("/live", func(c sink.Call) sink.Answer {
		mu.Lock()
		defer mu.Unlock()
		if at, ok := sent.Load(c.EventID); ok {
			took = append(took, time.Since(at.(time.Time)))
		}
		return sink.Answer{}
	})
	var pages sync.WaitGroup
	if during != nil {
		pages.Go(func() { during(ctx) })
	}
	tick := time.NewTicker(time.Second / liveRate)
	defer tick.Stop()
	var group errgroup.Group
	group.SetLimit(32)
	began := time.Now()
	n := 0
	for ctx.Err() == nil {
		<-tick.C
		n++
		group.Go(func() error {
			at := time.Now()
			var made struct{ ID string }
			err := f.Do(t.Context(), http.MethodPost, "/v1/events", nil, map[string]any{"type": "email.sent", "data": map[string]any{"n": 1}}, &made)
			sent.Store(made.ID, at)
			return err
		})
	}
	require.NoError(t, group.Wait())
	elapsed := time.Since(began)
	arrived := f.receivers.CountTo("/live") - was
	pages.Wait()
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	if len(took) == 0 {
		return traffic{perSecond: float64(arrived) / elapsed.Seconds()}
	}
	return traffic{float64(arrived) / elapsed.Seconds(), took[len(took)/2], took[len(took)*99/100]}
}

var sent sync.Map // event id: when it was sent

// TestPagesWithTenMillionDeliveries measures the median answer of each page beside live deliveries, and what reading
// pages costs the deliveries.
func TestPagesWithTenMillionDeliveries(t *testing.T) {
	f := newFirm(t, "Acme Robotics")
	f.receivers.Script("/hook", nil)
	var hooks []string
	for n := range loadHooks {
		hooks = append(hooks, raw(f.webhook(fmt.Sprintf("/hook/%d", n), map[string]any{"description": fmt.Sprint("Hook ", n)})))
	}
	f.fill(t, hooks)
	live := newFirm(t, "Live")
	live.webhook("/live", map[string]any{"events": []string{"email.sent"}})
	f.note("Where is it")
	tenant, operator := newReader(t, f.sys.API, f.Key), newReader(t, f.sys.API, f.sys.OperatorKey)
	var found struct{ Data []struct{ ID string } }
	until := time.Now().AddDate(0, 0, -14).UTC().Format(time.RFC3339)
	f.get("/v1/events", url.Values{"until": {until}, "limit": {"1"}}, &found)
	event := found.Data[0].ID
	f.get("/v1/deliveries", url.Values{"until": {until}, "limit": {"1"}}, &found)
	delivery := found.Data[0].ID
	f.get("/v1/webhooks", url.Values{"limit": {"1"}}, &found)
	webhook := found.Data[0].ID
	pages := []struct {
		who  *reader
		path string
	}{
		{tenant, "/"},
		{tenant, "/events"},
		{tenant, "/events?until=" + url.QueryEscape(until)},
		{tenant, "/events/" + event},
		{tenant, "/events/" + f.newest()},
		{tenant, "/deliveries"},
		{tenant, "/deliveries?status=failed"},
		{tenant, "/deliveries/" + delivery},
		{tenant, "/search?q=" + event},
		{tenant, "/search?q=" + delivery},
		{tenant, "/search?q=Order+1000"},
		{tenant, "/search?q=ada%40example.net"},
		{tenant, "/search?q=nobody%40example.org"},
		{tenant, "/webhooks"},
		{tenant, "/webhooks/" + webhook},
		{tenant, "/agents"},
		{tenant, "/domains"},
		{tenant, "/keys"},
		{tenant, "/replays"},
		{operator, "/operator"},
		{operator, "/operator/tenants"},
		{operator, "/operator/tenants/" + f.id},
		{operator, "/operator/top"},
		{operator, "/operator/partitions"},
		{operator, "/operator/doctor"},
		{operator, "/operator/audit"},
	}
	measured := map[string][]time.Duration{}
	produce(t, live, 5, nil) // warm
	var without, with []traffic
	for range liveRounds {
		without = append(without, produce(t, live, liveSeconds, nil))
		with = append(with, produce(t, live, liveSeconds, func(ctx context.Context) {
			pace := time.NewTicker(500 * time.Millisecond) // of one reader
			defer pace.Stop()
			for ctx.Err() == nil {
				for _, p := range pages {
					if ctx.Err() == nil {
						p.who.read(consolePath + p.path)
						<-pace.C
					}
				}
			}
		}))
	}
	produce(t, live, 60, func(ctx context.Context) {
		for range pageSamples {
			for _, p := range pages {
				if ctx.Err() == nil {
					measured[p.path] = append(measured[p.path], p.who.read(consolePath+p.path))
				}
			}
		}
	})
	a, b := mean(without), mean(with)
	t.Logf("without pages: %.1f deliveries a second, p50 %s, p99 %s; rounds %v", a.perSecond, a.p50, a.p99, without)
	t.Logf("with pages:    %.1f deliveries a second, p50 %s, p99 %s; rounds %v", b.perSecond, b.p50, b.p99, with)
	t.Logf("ratio %.3f", b.perSecond/a.perSecond)
	for _, p := range pages {
		all := measured[p.path]
		if len(all) == 0 {
			continue
		}
		slices.Sort(all)
		mark := ""
		if all[len(all)/2] > 100*time.Millisecond {
			mark = "  SLOW"
		}
		status, _ := p.who.status.Load(consolePath + p.path)
		t.Logf("%v %-60.60s median %6.1f ms, slowest %6.1f ms of %d%s", status, p.path, float64(all[len(all)/2].Microseconds())/1000, float64(all[len(all)-1].Microseconds())/1000, len(all), mark)
	}
}
