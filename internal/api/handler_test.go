package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/release"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestHealthDocumentAndPage(t *testing.T) {
	t.Parallel()
	ready := errors.New("no broker at nats://user:password@broker")
	w := start(t, func(o *api.Options) { o.Ready = func(context.Context) error { return ready } })
	nobody := client{w: w}
	nobody.do("GET", "/healthz", nil).want(t, 200)
	require.NotContains(t, string(nobody.do("GET", "/readyz", nil).want(t, 503).raw), "password")
	doc := nobody.do("GET", "/openapi.json", nil).want(t, 200)
	require.Equal(t, release.Version(), doc.json["info"].(map[string]any)["version"])
	require.Regexp(t, `^3\.1`, doc.text("openapi"))
	page := nobody.do("GET", "/docs", nil).want(t, 200)
	require.Contains(t, page.header.Get("Content-Type"), "text/html")
	require.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Empty(t, regexp.MustCompile(`(src|href)="(https?:)?//`).FindString(string(page.raw)), "the page loads nothing from other servers")
	require.NotContains(t, string(page.raw), "innerHTML")

	real := start(t)
	client{w: real}.do("GET", "/readyz", nil).want(t, 200)
	real.pool.Close()
	client{w: real}.do("GET", "/readyz", nil).want(t, 503)
}

func TestPathsAndMethodsThatAreNot(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.do("GET", "/v1/nothing", nil).want(t, 404)
	c.do("GET", "/", nil).want(t, 404)
	a := c.do("PUT", "/v1/webhooks", nil).want(t, 405)
	require.Contains(t, a.header.Get("Allow"), "POST")
	require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
}

func TestADatabaseThatIsAwayIsA503AndLeaksNothing(t *testing.T) {
	t.Parallel()
	// A free port: connections are refused.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	core, logs := observer.New(zap.WarnLevel)
	pool := pgtest.Open(t, "postgres://fanmail:hunter2@"+addr+"/fanmail?sslmode=disable&connect_timeout=2")
	h, err := api.NewHandler(api.Options{Pool: pool, Log: zap.New(core)})
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	a := client{w: &world{t: t, url: srv.URL}, key: "fm_any"}.do("GET", "/v1/webhooks", nil).want(t, 503)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.NotContains(t, string(a.raw), addr)
	require.Equal(t, 1, logs.Len())
	require.Equal(t, "list-webhooks", logs.All()[0].ContextMap()["operation"])
}

func TestRequestsAreCountedByOperationAndClass(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	w := start(t, func(o *api.Options) { o.Registerer = reg })
	c := w.tenant()
	c.webhook()
	c.do("GET", "/v1/webhooks/wh_x", nil).want(t, 422)
	c.do("GET", "/v1/webhooks", nil, "Authorization", "Bearer no").want(t, 401)
	c.do("GET", "/v1/elsewhere", nil).want(t, 404)
	c.do("POST", "/v1/webhooks", map[string]any{}, "Idempotency-Key", "k").want(t, 422)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP fanmail_api_requests_total Requests answered, by operation and class of status.
# TYPE fanmail_api_requests_total counter
fanmail_api_requests_total{code="2xx",operation="create-key"} 1
fanmail_api_requests_total{code="2xx",operation="create-tenant"} 1
fanmail_api_requests_total{code="2xx",operation="create-webhook"} 1
fanmail_api_requests_total{code="4xx",operation="create-webhook"} 1
fanmail_api_requests_total{code="4xx",operation="get-webhook"} 1
fanmail_api_requests_total{code="4xx",operation="list-webhooks"} 1
fanmail_api_requests_total{code="4xx",operation="none"} 1
`), "fanmail_api_requests_total"))
	_, err := api.NewHandler(api.Options{Pool: w.pool, Registerer: reg})
	require.ErrorContains(t, err, "Registerer")
	_, err = api.NewHandler(api.Options{})
	require.ErrorContains(t, err, "Pool")
}

func TestAHeadRequestHasNoBody(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodHead, w.url+"/v1/webhooks", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Empty(t, body)
}

// deadlines records the read deadlines that a request's connection gets.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// While a handler runs, net/http reads from the connection to notice that the
// client closes it. A read deadline that expires then cancels the handler.
func TestOnlyARequestWithABodyGetsAReadDeadline(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	h, err := api.NewHandler(api.Options{Pool: w.pool})
	require.NoError(t, err)
	for body, want := range map[string]int{"": 0, "{}": 1} {
		for _, key := range []string{"", "k" + body} {
			req := httptest.NewRequest(http.MethodPost, "/v1/webhooks/"+hook+"/test", strings.NewReader(body))
			if body == "" {
				req.Body = http.NoBody // as net/http sets it
			}
			req.Header.Set("Authorization", "Bearer "+c.key)
			req.Header.Set("Idempotency-Key", key)
			d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			h.ServeHTTP(d, req)
			require.Equal(t, http.StatusAccepted, d.Code, d.Body)
			if want > 0 {
				require.True(t, d.set[len(d.set)-1].IsZero(), "the end of the body clears the deadline")
				d.set = d.set[:len(d.set)-1]
			}
			require.Len(t, d.set, want, "body %q, key %q", body, key)
		}
	}
}
