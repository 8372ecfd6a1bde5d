package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func attribute(of []*commonv1.KeyValue, key string) string {
	for _, a := range of {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// TestOneMailIsOneTrace sends a mail to webhooks of two dispatchers, so that some deliveries go
// through the second stream. One delivery fails once, so that one attempt comes from the table.
func TestOneMailIsOneTrace(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errors.New("the trace test took too long"))
	t.Cleanup(cancel)
	c := collect(t)
	env := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.addr, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=50",
		"FANMAIL_LOG_LEVEL=debug",
	}
	r, s := newRig(ctx, t, env...), sink.New(t)
	r.another(ctx, "dispatcher", "dispatcher-2", r.bin)
	require.Eventually(t, func() bool {
		return r.count(ctx, `SELECT count(DISTINCT owner) FROM fanmail.partition_owners WHERE leased_until > now()`) == 2
	}, time.Minute, 20*time.Millisecond)

	key, paths := webhooksOfBoth(ctx, r)
	for path, hook := range paths {
		var made struct {
			SigningSecret string `json:"signing_secret"`
		}
		r.call(ctx, key, http.MethodPost, "/v1/webhooks/"+hook+"/rotate-secret", nil, &made)
		s.Secret(path, made.SigningSecret)
		r.call(ctx, key, http.MethodPatch, "/v1/webhooks/"+hook, map[string]any{"url": s.URL(path)}, nil)
	}
	const failing = "/0"
	s.Script(failing, sink.FailAttempts(1, sink.Answer{Status: http.StatusServiceUnavailable}))

	require.NoError(t, smtp.SendMail(r.smtp, nil, "ann@example.org", []string{"robot@example.com"},
		[]byte("From: ann@example.org\r\nTo: robot@example.com\r\nMessage-ID: <1@example.org>\r\nSubject: traced\r\n\r\nHello\r\n")))
	require.NoError(t, s.WaitFor(ctx, len(paths)))
	r.retryNow(ctx)
	require.NoError(t, s.WaitFor(ctx, len(paths)+1))

	// Each request named its attempt.
	traces := map[string]bool{}
	attempts := map[string]sink.Post{}
	for _, p := range s.Posts(0) {
		require.NoError(t, p.VerifyErr)
		m := regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-01$`).FindStringSubmatch(p.Header.Get("traceparent"))
		require.NotNil(t, m, "traceparent %q", p.Header.Get("traceparent"))
		traces[m[1]] = true
		attempts[m[2]] = p
	}
	require.Len(t, traces, 1, "all attempts are in one trace")
	require.Len(t, attempts, len(paths)+1)
	var id string
	for id = range traces {
	}
	// Everything has been exported when the processes have stopped.
	exemplars := metrics(ctx, t, r.running["dispatcher"].Ready) + metrics(ctx, t, r.running["dispatcher-2"].Ready)
	logs := r.running["ingest"].Tail(1000) + r.running["dispatcher"].Tail(1000) + r.running["dispatcher-2"].Tail(1000)
	require.NoError(t, r.running["dispatcher-2"].Stop(ctx))
	r.stop(ctx)

	tree := c.trace(id)
	services, roots, streams := map[string]bool{}, 0, map[string]bool{}
	for k, sp := range tree {
		services[sp.service] = true
		if len(sp.GetParentSpanId()) == 0 {
			roots++
		}
		require.NotEqual(t, "?", ancestry(tree, k)[0], "the parent of %q was exported", sp.GetName())
	}
	require.Equal(t, 1, roots, "one tree")
	require.Equal(t, map[string]bool{"fanmail-ingest": true, "fanmail-publisher": true, "fanmail-dispatcher": true}, services)
	for spanID, p := range attempts {
		want := []string{"receive mail", "insert events", "publish event", "fan out event", "POST webhook"}
		if p.Path == failing && p.Attempt == 2 {
			want = []string{"receive mail", "insert events", "POST webhook"} // from the table, long after the rest
		}
		require.Equal(t, want, ancestry(tree, spanID), "attempt %d at %s", p.Attempt, p.Path)
		sp := tree[spanID]
		require.Equal(t, p.DeliveryID, attribute(sp.GetAttributes(), "fanmail.delivery.id"))
		require.Equal(t, p.Path == failing && p.Attempt == 1, sp.GetStatus().GetCode() == 2, "a failure shows")
		streams[attribute(sp.GetAttributes(), "fanmail.via")] = true
	}
	require.Equal(t, map[string]bool{"feed": true, "stream": true, "table": true}, streams, "deliveries took each way to a lane")
	for _, parent := range []string{"receive mail", "fan out event"} {
		require.True(t, slices.ContainsFunc(keys(tree), func(k string) bool {
			p := ancestry(tree, k)
			return len(p) > 1 && p[len(p)-2] == parent && attribute(tree[k].GetAttributes(), "db.system.name")+attribute(tree[k].GetAttributes(), "db.system") != ""
		}), "queries show under %q", parent)
	}
	require.Contains(t, exemplars, `trace_id="`+id+`"`, "latencies carry the trace as their exemplar")
	require.Equal(t, 1+len(attempts), strings.Count(logs, `"trace_id":"`+id+`"`), "the log names it at the mail and at each attempt")
}

func keys(of map[string]span) (all []string) {
	for k := range of {
		all = append(all, k)
	}
	return all
}

// webhooksOfBoth creates a tenant, an agent, and webhooks until each dispatcher owns some of them. It
// returns the tenant's key and the webhooks by path.
func webhooksOfBoth(ctx context.Context, r *rig) (key string, paths map[string]string) {
	operator := r.operatorKey(ctx)
	var tenant struct{ ID string }
	r.call(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": "traced"}, &tenant)
	var made struct{ Secret string }
	r.call(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": tenant.ID}, &made)
	r.call(ctx, operator, http.MethodPost, "/v1/domains", map[string]any{"tenant_id": tenant.ID, "domain": "*"}, nil)
	r.call(ctx, made.Secret, http.MethodPost, "/v1/agents", map[string]any{"address": "robot@example.com"}, nil)
	paths = map[string]string{}
	owners := map[string]bool{}
	for n := 0; len(owners) < 2 || n < 4; n++ {
		var hook struct{ ID string }
		r.call(ctx, made.Secret, http.MethodPost, "/v1/webhooks", map[string]any{"url": "http://127.0.0.1:65535/", "events": []string{"email.received"}}, &hook)
		paths[fmt.Sprintf("/%d", n)] = hook.ID
		id, err := events.Parse[events.WebhookKind](hook.ID)
		require.NoError(r.t, err)
		var owner string
		require.NoError(r.t, r.pool.QueryRow(ctx, `SELECT owner::text FROM fanmail.partition_owners WHERE partition = $1`, events.Partition(id)).Scan(&owner))
		owners[owner] = true
	}
	return made.Secret, paths
}

// metrics reads a process's metrics as Prometheus does, exemplars included.
func metrics(ctx context.Context, t *testing.T, ready string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(ready, "readyz")+"metrics", nil)
	require.NoError(t, err)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}
