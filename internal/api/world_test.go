package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// world is a server on a real database, with an operator's key.
type world struct {
	t        *testing.T
	pool     *pgxpool.Pool
	url      string
	operator client
}

// client sends requests with one key.
type client struct {
	w        *world
	key      string
	tenantID string
}

type answer struct {
	status int
	header http.Header
	raw    []byte
	json   map[string]any // nil if the body is no object
}

func start(t *testing.T, change ...func(*api.Options)) *world {
	t.Helper()
	o := api.Options{Pool: pgtest.Pool(t)}
	for _, f := range change {
		f(&o)
	}
	h, err := api.NewHandler(o)
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	secret, err := tenancy.BootstrapOperatorKey(context.Background(), o.Pool)
	require.NoError(t, err)
	w := &world{t: t, pool: o.Pool, url: srv.URL}
	w.operator = client{w: w, key: secret}
	return w
}

// tenant creates a tenant and a key with all scopes.
func (w *world) tenant() client {
	w.t.Helper()
	made := w.operator.do("POST", "/v1/tenants", map[string]any{"name": w.t.Name()}).want(w.t, 201)
	c := client{w: w, tenantID: made.text("id")}
	c.key = w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID}).want(w.t, 201).text("secret")
	w.everyDomain(c.tenantID)
	return c
}

// everyDomain gives every domain to the first tenant that asks.
func (w *world) everyDomain(tenant string) {
	w.t.Helper()
	var id events.TenantID
	require.NoError(w.t, id.UnmarshalText([]byte(tenant)))
	err := pgx.BeginFunc(context.Background(), w.pool, func(tx pgx.Tx) error {
		_, err := mailbox.GiveDomain(context.Background(), tx, id, mailbox.EveryDomain)
		return err
	})
	if !errors.Is(err, mailbox.ErrDomainTaken) {
		require.NoError(w.t, err)
	}
}

// do sends a request. body is JSON text, a value to encode, or nil for none.
func (c client) do(method, path string, body any, headers ...string) *answer {
	c.w.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = bytes.NewReader([]byte(b))
	default:
		enc, err := json.Marshal(b)
		require.NoError(c.w.t, err)
		r = bytes.NewReader(enc)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, c.w.url+path, r)
	require.NoError(c.w.t, err)
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	// It only matters on failure, and the race detector makes a body with 200,000 faults take a minute on a busy machine.
	resp, err := (&http.Client{Timeout: 5 * time.Minute}).Do(req)
	require.NoError(c.w.t, err)
	defer func() { _ = resp.Body.Close() }()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	a.raw, err = io.ReadAll(resp.Body)
	require.NoError(c.w.t, err)
	_ = json.Unmarshal(a.raw, &a.json)
	return a
}

func (a *answer) want(t *testing.T, status int) *answer {
	t.Helper()
	require.Equal(t, status, a.status, "%s", a.raw)
	if status >= 400 {
		require.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
		require.EqualValues(t, status, a.json["status"])
		require.NotEmpty(t, a.json["title"])
	}
	return a
}

// names checks that the problem's errors and its detail name the field.
func (a *answer) names(t *testing.T, location string) {
	t.Helper()
	var places []string
	list, _ := a.json["errors"].([]any)
	for _, e := range list {
		d := e.(map[string]any)
		require.NotContains(t, d, "value", "the request's values are not returned")
		places = append(places, d["location"].(string))
	}
	require.Contains(t, places, location, "%s", a.raw)
	require.Contains(t, a.json["detail"], ": ")
}

func (a *answer) text(name string) string {
	s, _ := a.json[name].(string)
	return s
}

func (a *answer) ids(t *testing.T, name string) []string {
	t.Helper()
	data, ok := a.json["data"].([]any)
	require.True(t, ok, "%s", a.raw)
	out := make([]string, len(data))
	for i, d := range data {
		out[i] = d.(map[string]any)[name].(string)
	}
	return out
}

const hookURL = "https://hooks.example.com/in"

// webhook creates a webhook and returns its id.
func (c client) webhook(more ...any) string {
	c.w.t.Helper()
	body := map[string]any{"url": hookURL, "events": []string{"email.received"}}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return c.do("POST", "/v1/webhooks", body).want(c.w.t, 201).text("id")
}

// event creates an event and returns its id.
func (c client) event() string {
	c.w.t.Helper()
	return c.do("POST", "/v1/events", map[string]any{"type": "email.received", "data": map[string]any{"n": 1}}).want(c.w.t, 202).text("id")
}

// waiting waits until n connections wait for a lock.
func waiting(t *testing.T, w *world, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var have int
		err := w.pool.QueryRow(context.Background(),
			`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&have)
		return err == nil && have == n
	}, 20*time.Second, time.Millisecond)
}
