package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/sink"
)

const (
	deadHooks    = 200
	healthyHooks = 10
	backlogShort = 100_000
	backlogLong  = 1_000_000
	// envelopeBytes of each event in the backlog.
	envelopeBytes = 4 << 10
	// memoryLimit of a dispatcher with such a backlog.
	memoryLimit = 256 << 20
)

// TestABacklogOfTheDeadCostsLittle starts a dispatcher on a backlog of due rows whose endpoints refuse
// or hang, and sends events to healthy webhooks beside them.
func TestABacklogOfTheDeadCostsLittle(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("the backlog test took too long"))
	t.Cleanup(cancel)
	f := newFleet(ctx, t)
	rows, rounds := backlogShort, 10
	if long {
		rows, rounds = backlogLong, 60
	}
	dead, healthy := f.tenant(ctx), f.tenant(ctx)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	f.sink.Script("/hangs", sink.Hang(hold))
	refused := "http://" + freeAddr(t) + "/"
	var ids []events.WebhookID
	for i := range deadHooks {
		url := refused
		if i%2 == 0 {
			url = f.sink.URL("/hangs")
		}
		ids = append(ids, f.webhook(ctx, dead, url, fmt.Sprintf("dead-%d", i), 32, false))
	}
	for i := range healthyHooks {
		f.webhook(ctx, healthy, f.sink.URL(fmt.Sprintf("/healthy-%d", i)), "healthy", 32, false)
	}
	f.backlog(ctx, dead, ids, rows)
	f.dispatcher(ctx, "dispatcher")

	most, started, cpu := 0.0, time.Now(), f.metric(ctx, "dispatcher", "process_cpu_seconds_total")
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var took []time.Duration
	for n := 1; n <= rounds; n++ {
		at := time.Now()
		f.insert(ctx, healthy, "healthy")
		require.NoError(t, f.sink.Wait(ctx, func() bool {
			for i := range healthyHooks {
				if f.sink.CountTo(fmt.Sprintf("/healthy-%d", i)) < n {
					return false
				}
			}
			return true
		}))
		took = append(took, time.Since(at))
		most = max(most, f.metric(ctx, "dispatcher", "process_resident_memory_bytes"))
		<-tick.C
	}
	spent := f.metric(ctx, "dispatcher", "process_cpu_seconds_total") - cpu
	slices.Sort(took)
	t.Logf("%d due rows to %d dead endpoints: %.0f MiB at most, %.2f of a core over %s, %.0f deliveries in memory; an event at all of %d healthy webhooks after %s (median), %s (worst)",
		rows, deadHooks, most/(1<<20), spent/time.Since(started).Seconds(), time.Since(started).Round(time.Second), f.metric(ctx, "dispatcher", "fanmail_dispatch_queued"),
		healthyHooks, took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	require.Less(t, most, float64(memoryLimit))
	waiting := f.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending'`)
	require.GreaterOrEqual(t, waiting, rows, "the backlog is still there")
}

// backlog inserts due rows of the webhooks, in turn, that share a few events.
func (f *fleet) backlog(ctx context.Context, tenant events.TenantID, ids []events.WebhookID, rows int) {
	f.t.Helper()
	f.sql(ctx, `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT lpad(to_hex(i), 32, '0')::uuid, date_trunc('day', now()), $1, 'email.received', i, convert_to('"' || repeat('x', $2::int) || '"', 'UTF8')
		FROM generate_series(1, 100) AS i`, tenant, envelopeBytes)
	f.sql(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), now(), ($2::uuid[])[1 + i % array_length($2, 1)], $1, lpad(to_hex(1 + i % 100), 32, '0')::uuid, date_trunc('day', now()),
			now(), now() + interval '30 days', i, 8, 'email.received'
		FROM generate_series(1, $3::int) AS i`, tenant, ids, rows)
}

func (f *fleet) insert(ctx context.Context, tenant events.TenantID, label string) {
	f.t.Helper()
	require.NoError(f.t, pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		_, err := outbox.Insert(ctx, tx, events.Event{TenantID: tenant, Type: events.EmailReceived, Labels: []string{label}, Data: json.RawMessage(`{"subject":"hello"}`)})
		return err
	}))
}

// metric returns one of a process's metrics, summed over its labels.
func (f *fleet) metric(ctx context.Context, process, name string) float64 {
	f.t.Helper()
	url := strings.Replace(f.process(process).Ready, "/readyz", "/metrics", 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(f.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(f.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	sum, found := 0.0, false
	for line := range strings.Lines(string(body)) {
		metric, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if series, _, _ := strings.Cut(metric, "{"); series == name {
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(f.t, err)
			sum, found = sum+v, true
		}
	}
	require.True(f.t, found, "%s has no metric %s", process, name)
	return sum
}
