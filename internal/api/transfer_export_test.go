package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/outbox"
)

func TestEventsPastTheirRetentionAreLeftOut(t *testing.T) {
	t.Parallel()
	here := start(t)
	c, e := many(t, here, 2)
	first := e.first("event")
	old := strings.ReplaceAll(e.lines[first].text, e.lines[first].Data["created_at"].(string), "2020-01-01T00:00:00Z")
	var stamp struct{ Data struct{ Envelope string } }
	require.NoError(t, json.Unmarshal([]byte(old), &stamp))
	env, err := events.DecodeEnvelope([]byte(stamp.Data.Envelope))
	require.NoError(t, err)
	old = strings.ReplaceAll(old, env.CreatedAt.Format(events.TimeLayout), "2020-01-01T00:00:00.000000Z")
	report, err := c.w.bare().importing(e.with(first, old))
	_ = report
	require.ErrorContains(t, err, "another event here", "the second is there")
	report, err = start(t).bare().importing(e.with(first, old))
	require.NoError(t, err)
	for _, row := range report.Rows {
		if row.What == "events" {
			require.Equal(t, api.ImportCount{What: "events", There: 2, Added: 1, Old: 1}, *row)
		}
	}
}

// slowly opens an export and reads its first line.
func (c client) slowly(ctx context.Context) *http.Response {
	c.w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.w.url+"/v1/export", nil)
	require.NoError(c.w.t, err)
	r.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(c.w.t, err)
	c.w.t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(c.w.t, 200, resp.StatusCode)
	return resp
}

// bulk makes so many events of 250 kB: more than the connection holds.
func (c client) bulk(n int) {
	c.w.t.Helper()
	_, err := c.w.pool.Exec(c.w.t.Context(), `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT gen_random_uuid(), now(), $1, 'email.sent', i, convert_to('{"a":"' || repeat('x', 250000) || '"}', 'UTF8') FROM generate_series(1, $2::int) AS i`,
		id[events.TenantKind](c.w.t, c.tenantID), n)
	require.NoError(c.w.t, err)
}

func TestOneExportOfATenantRunsAtATimeAndHoldsNoConnection(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.Pool = narrow(t, 1) })
	c, other := w.bare(), w.bare()
	c.bulk(80)
	running := c.slowly(t.Context())
	c.do("GET", "/v1/export", nil).want(t, 429)
	require.NotEmpty(t, other.export("").lines, "another tenant's export runs beside it, and the one connection is free")
	var backends int
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()`).Scan(&backends))
	require.Zero(t, backends, "no transaction stays open while the client reads slowly")
	text, err := io.ReadAll(running.Body)
	require.NoError(t, err)
	require.Len(t, parseExport(t, text).of("event"), 80)
	require.Eventually(t, func() bool { return c.do("GET", "/v1/export?what=configuration", nil).status == 200 }, 30*time.Second, time.Millisecond)
	require.Equal(t, 2, w.audited(t, "export-tenant")-1, "an export is in the audit log; a refused one is not")
}

func TestAnExportThatIsCutOffHasNoEnd(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	w := start(t, func(o *api.Options) { o.Stopping = stop })
	c := w.bare()
	c.bulk(80)
	running := c.slowly(t.Context())
	close(stop)
	text, err := io.ReadAll(running.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NotContains(t, string(text), `"kind":"end"`)
}

func TestAnExportHasEveryEventThatWasThereWhenItBegan(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, e := many(t, w, 2000)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = c.do("POST", "/v1/events", `{"type":"email.sent","data":{}}`)
			}
		}
	}()
	during := c.export("")
	close(stop)
	<-stopped
	require.GreaterOrEqual(t, len(during.of("event")), len(e.of("event")))
	require.Equal(t, e.of("event"), during.of("event")[:2000], "in the same order, each once")
	seen := map[any]bool{}
	for _, l := range during.of("event") {
		require.False(t, seen[l.Data["id"]])
		seen[l.Data["id"]] = true
	}
	require.Greater(t, len(c.export("").of("event")), len(e.of("event")))
}

func TestWhoMayExport(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	for _, role := range []string{"write", "read", "replay", "send-only"} {
		key := client{w: w, key: c.do("POST", "/v1/keys", map[string]any{"scopes": []string{role}}).want(t, 201).text("secret")}
		key.do("GET", "/v1/export", nil).want(t, 403)
	}
	other.do("GET", "/v1/export?tenant_id="+c.tenantID, nil).want(t, 404)
	w.operator.do("GET", "/v1/export", nil).want(t, 422).names(t, "query.tenant_id")
	w.operator.do("GET", "/v1/export?tenant_id="+events.NewRandom[events.TenantKind]().String(), nil).want(t, 404)
	require.Contains(t, string(w.operator.export("?tenant_id="+c.tenantID).text), c.tenantID)
	c.do("GET", "/v1/export?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", nil).want(t, 422).names(t, "query.until")
	entries := c.do("GET", "/v1/audit?operation=export-tenant", nil).want(t, 200).json["data"].([]any)
	require.Len(t, entries, 1, "the tenant sees that an operator has exported it")
	require.Equal(t, 30*24*time.Hour, outbox.Retention, "docs/how-to/export-and-import-a-tenant.md names it")
}
