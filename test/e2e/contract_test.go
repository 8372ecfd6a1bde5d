package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// contract is the OpenAPI document that a running system serves, and the operations that were called.
type contract struct {
	t      *testing.T
	base   string
	check  validator.Validator
	routes map[string]route // by operation id
	driven map[string]bool
	said   recordings
}

type route struct{ method, path string }

func readContract(ctx context.Context, t *testing.T, base string) *contract {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/openapi.json", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	doc, err := libopenapi.NewDocument(raw)
	require.NoError(t, err)
	check, errs := validator.NewValidator(doc)
	require.Empty(t, errs)
	var parsed struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(raw, &parsed))
	c := &contract{t: t, base: base, check: check, routes: map[string]route{}, driven: map[string]bool{}, said: recordings{}}
	for path, item := range parsed.Paths {
		for method, op := range item {
			c.routes[op.OperationID] = route{strings.ToUpper(method), path}
		}
	}
	return c
}

// actor calls operations with one key.
type actor struct {
	*contract
	key string
	own string            // a URL for its agent's own webhook
	ids map[string]string // the owner's, by path up to the parameter
}

func anHourAgo() string { return time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) }

// fill puts the ids into a route's path.
func fill(path string, ids map[string]string) string {
	before, rest, has := strings.Cut(path, "{")
	if !has {
		return path
	}
	_, after, _ := strings.Cut(rest, "}")
	return fill(before+ids[before]+after, ids)
}

// do calls an operation, validates request and response against the document, and returns the
// response.
func (a *actor) do(ctx context.Context, operation, query string, body any, want int, or ...int) map[string]any {
	a.t.Helper()
	r, known := a.routes[operation]
	require.True(a.t, known, "the document has no %s", operation)
	a.driven[operation] = true
	var enc []byte
	if body != nil {
		var err error
		enc, err = json.Marshal(body)
		require.NoError(a.t, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends a tail
	req, err := http.NewRequestWithContext(ctx, r.method, a.base+fill(r.path, a.ids)+query, bytes.NewReader(enc))
	require.NoError(a.t, err)
	req.Header.Set("Authorization", "Bearer "+a.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if want < 300 {
		ok, faults := a.check.ValidateHttpRequestSync(req)
		require.True(a.t, ok, "%s: the request: %v", operation, faults)
		req.Body = io.NopCloser(bytes.NewReader(enc))
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.t, err)
	defer func() { _ = resp.Body.Close() }()
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		require.Equal(a.t, want, resp.StatusCode, operation)
		a.said.keep(operation, resp, nil, firstEvent(a.t, resp.Body))
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	require.Contains(a.t, append(or, want), resp.StatusCode, "%s: %s", operation, raw)
	if resp.Header.Get("Content-Type") == "application/jsonl" { // the document describes the whole, and the validator takes one value
		a.said.keep(operation, resp, nil, kindsOf(a.t, raw))
		return nil
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	ok, faults := a.check.ValidateHttpResponse(req, resp)
	require.True(a.t, ok, "%s: the answer: %v\n%s", operation, faults, raw)
	a.said.keep(operation, resp, enc, raw)
	var out map[string]any
	_ = json.Unmarshal(raw, &out) // a mail is not JSON
	return out
}

const contractMail = "From: a@example.org\r\nTo: x\r\nSubject: hello\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=a.csv\r\n\r\n1,2\r\n--b--\r\n"

// furnish gives a tenant one of everything, by the operations that create it.
func (a *actor) furnish(ctx context.Context, smtpAddr, hookURL, address string, s *sink.Sink, path string) {
	a.t.Helper()
	a.do(ctx, "create-agent", "", map[string]any{"address": address}, 201)
	own, _, _ := strings.Cut(address[strings.Index(address, "@")+1:], ".")
	a.do(ctx, "create-event-type", "", map[string]any{
		"name": "order.created_by_" + own, "schema": map[string]any{"required": []string{"id"}}, "sample": map[string]any{"id": 1},
	}, 201)
	hook := a.do(ctx, "create-webhook", "", map[string]any{
		"url": hookURL, "events": []string{"email.received", "webhook.disabled"}, "filters": map[string]any{"agent_ids": []string{address}},
		"description": "orders", "rate_limit": 100, "headers": map[string]any{"X-Api-Key": "17"},
	}, 201)
	s.Secret(path, hook["signing_secret"].(string))
	link := a.do(ctx, "create-portal-link", "", map[string]any{"webhook_ids": []any{hook["id"]}, "origins": []string{"https://app.example.com"}}, 201)
	key := a.do(ctx, "create-key", "", map[string]any{"name": "second", "scopes": []string{"read"}, "rate_limit": 5}, 201)
	require.NoError(a.t, smtp.SendMail(smtpAddr, nil, "a@example.org", []string{address}, []byte(contractMail)))
	require.NoError(a.t, s.WaitForPath(ctx, path, 1))
	post := s.PostsTo(path)[0]
	require.NoError(a.t, post.VerifyErr)
	var env struct{ Data map[string]any }
	require.NoError(a.t, json.Unmarshal(post.Body, &env))
	replay := a.do(ctx, "create-replay", "", map[string]any{"since": anHourAgo(), "webhook_id": hook["id"], "mode": "missed"}, 202)
	erasure := a.do(ctx, "create-erasure", "", map[string]any{"address": "nobody@example.org"}, 202)
	a.ids = map[string]string{
		"/v1/erasures/": erasure["id"].(string),
		"/v1/agents/":   address, "/v1/event-types/": "order.created_by_" + own, "/v1/webhooks/": hook["id"].(string), "/v1/deliveries/": post.DeliveryID, "/v1/events/": post.EventID,
		"/v1/keys/": key["id"].(string), "/v1/portal-links/": link["id"].(string), "/v1/replays/": replay["id"].(string), "/v1/messages/": env.Data["message_id"].(string),
		"/v1/messages/" + env.Data["message_id"].(string) + "/attachments/": "0",
		"/v1/messages/" + env.Data["message_id"].(string) + "/fields/":      "text",
	}
}

func TestEveryOperationKeepsItsContractForTwoTenantsSideBySide(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errors.New("the contract test took too long"))
	defer cancel()
	receiver := sink.New(t)
	creds, stop := system(t, t.TempDir(), pgtest.EmptyURL(t), natstest.URL(t))
	defer stop()
	c := readContract(ctx, t, creds.API)
	operator := &actor{contract: c, key: creds.OperatorKey}
	var two []*actor
	for _, name := range []string{"a", "b"} {
		two = append(two, c.tenant(ctx, operator, creds, name, receiver))
	}
	operator.do(ctx, "list-tenants", "", nil, 200)
	operator.do(ctx, "list-tenants", "?name=A", nil, 200)
	// Everybody's ids with everybody else's key.
	for i, owner := range two {
		stranger := &actor{contract: c, key: two[1-i].key, ids: owner.ids}
		for operation, r := range c.routes {
			if strings.Contains(r.path, "{") {
				var body any
				switch {
				case r.method == http.MethodPatch:
					body = map[string]any{}
				case operation == "ack-webhook":
					body = map[string]any{"delivery_ids": []string{owner.ids["/v1/deliveries/"]}}
				case operation == "retry-webhook-deliveries":
					body = map[string]any{"since": anHourAgo()}
				}
				stranger.do(ctx, operation, "", body, 404)
			}
		}
		mine, err := json.Marshal(lists(ctx, two[1-i]))
		require.NoError(t, err)
		for _, id := range owner.ids {
			if len(id) > 2 {
				require.NotContains(t, string(mine), id, "a list shows another tenant's")
			}
		}
	}
	clear(c.driven) // a 404 proves nothing about an operation's own answer
	operator.do(ctx, "get-operator-stats", "", nil, 200)
	for _, by := range []string{"tenant", "webhook", "agent"} {
		operator.do(ctx, "get-operator-top", "?window=5m&by="+by, nil, 200)
	}
	operator.do(ctx, "get-operator-doctor", "", nil, 200)
	for _, a := range two {
		lists(ctx, a)
		(&actor{contract: c, key: operator.key, ids: a.ids}).do(ctx, "change-quota", "", map[string]any{"agents": 100, "keys": nil}, 200)
		(&actor{contract: c, key: operator.key, ids: a.ids}).do(ctx, "change-tenant", "", map[string]any{"alert_addresses": []string{"ops@example.com"}}, 200)
		a.exercise(ctx)
	}
	for _, a := range two {
		as := &actor{contract: c, key: operator.key, ids: a.ids}
		as.do(ctx, "delete-tenant", "?grace=10s", nil, 422)
		require.Equal(t, "waiting", as.do(ctx, "delete-tenant", "?grace=24h", nil, 202)["state"])
		a.do(ctx, "list-webhooks", "", nil, 401)
		require.Nil(t, as.do(ctx, "restore-tenant", "", nil, 200)["deleted_at"])
		a.do(ctx, "list-webhooks", "", nil, 200)
	}
	var left []string
	for operation := range c.routes {
		if !c.driven[operation] {
			left = append(left, operation)
		}
	}
	slices.Sort(left)
	require.Equal(t, []string{"create-agent", "create-domain", "create-event-type", "create-key", "create-portal-link", "create-replay", "create-tenant", "list-tenants"}, left,
		"driven above; every other operation must be driven here")
	c.said.compare(t, creds.API, receiver.URL(""))
}

func (c *contract) tenant(ctx context.Context, operator *actor, creds app.Credentials, name string, s *sink.Sink) *actor {
	c.t.Helper()
	ten := operator.do(ctx, "create-tenant", "", map[string]any{"name": name}, 201)
	key := operator.do(ctx, "create-key", "", map[string]any{"tenant_id": ten["id"]}, 201)
	a := &actor{contract: c, key: key["secret"].(string), own: s.URL("/" + name + "/own")}
	s.Script("/"+name+"/own", sink.FailFirst(2, sink.Answer{Status: http.StatusServiceUnavailable}))
	domain := name + ".example"
	operator.do(ctx, "create-domain", "", map[string]any{"tenant_id": ten["id"], "domain": domain}, 201)
	a.furnish(ctx, creds.SMTP, s.URL("/"+name), "robot@"+domain, s, "/"+name)
	a.ids["/v1/domains/"], a.ids["/v1/tenants/"] = domain, ten["id"].(string)
	return a
}

// consume polls a webhook of kind pull and acknowledges what it gets.
func (a *actor) consume(ctx context.Context) {
	a.t.Helper()
	hook := a.do(ctx, "create-webhook", "", map[string]any{"kind": "pull", "events": []string{"email.sent"}, "retry": map[string]any{"type": "list", "delays": []string{"1s"}}}, 201)
	require.NotContains(a.t, hook, "signing_secret")
	ids := maps.Clone(a.ids)
	ids["/v1/webhooks/"] = hook["id"].(string)
	c := &actor{contract: a.contract, key: a.key, ids: ids}
	require.Empty(a.t, c.do(ctx, "poll-webhook", "", nil, 200)["data"])
	c.do(ctx, "create-event", "", map[string]any{"type": "email.sent", "data": map[string]any{"n": 2}}, 202)
	polled := c.do(ctx, "poll-webhook", "?wait=30&limit=1&lease=60", nil, 200)["data"].([]any)
	require.Len(a.t, polled, 1)
	d := polled[0].(map[string]any)
	require.Equal(a.t, d["event_id"], d["envelope"].(map[string]any)["id"])
	failed := map[string]any{"lease": d["lease"], "failed": []map[string]any{{"delivery_id": d["delivery_id"], "reason": "busy"}}}
	require.EqualValues(a.t, 1, c.do(ctx, "ack-webhook", "", failed, 200)["failed"])
	again := c.do(ctx, "poll-webhook", "?wait=30", nil, 200)["data"].([]any)
	require.Len(a.t, again, 1)
	require.EqualValues(a.t, 2, again[0].(map[string]any)["attempt"])
	require.EqualValues(a.t, 1, c.do(ctx, "ack-webhook", "", map[string]any{"delivery_ids": []any{d["delivery_id"]}}, 200)["delivered"])
	a.do(ctx, "poll-webhook", "", nil, 409) // it is of kind push
}

// deliverToOwn has a message delivered to its agent's own webhook, whose first two answers are failures.
func (a *actor) deliverToOwn(ctx context.Context) {
	a.t.Helper()
	a.do(ctx, "retry-message", "", nil, 409) // it has no delivery yet
	a.do(ctx, "change-agent", "", map[string]any{"webhook_url": a.own}, 200)
	require.Equal(a.t, false, a.do(ctx, "deliver-message", "", nil, 200)["success"])
	require.EqualValues(a.t, 1, a.do(ctx, "retry-message", "", nil, 200)["attempts"])
	require.Eventually(a.t, func() bool { // a dispatcher attempts it
		waiting, _ := a.do(ctx, "list-agent-deliveries", "?status=pending", nil, 200)["data"].([]any)
		return len(waiting) == 1 && waiting[0].(map[string]any)["attempts"] == float64(2)
	}, time.Minute, 50*time.Millisecond)
	require.Equal(a.t, true, a.do(ctx, "deliver-message", "", nil, 200)["success"])
	require.Len(a.t, a.do(ctx, "list-agent-deliveries", "?status=delivered", nil, 200)["data"], 1)
	a.do(ctx, "change-agent", "", map[string]any{"webhook_url": nil}, 200)
}

// lists reads every list of the tenant.
func lists(ctx context.Context, a *actor) []any {
	return []any{
		a.do(ctx, "list-agents", "?limit=100", nil, 200), a.do(ctx, "list-event-types", "?limit=100", nil, 200), a.do(ctx, "list-webhooks", "", nil, 200), a.do(ctx, "list-events", "?type=email.received", nil, 200),
		a.do(ctx, "list-events", "?subject=hello&from=@example.org", nil, 200), a.do(ctx, "list-all-deliveries", "?status=delivered", nil, 200),
		a.do(ctx, "list-keys", "", nil, 200), a.do(ctx, "list-domains", "", nil, 200), a.do(ctx, "list-audit", "", nil, 200), a.do(ctx, "list-portal-links", "", nil, 200), a.do(ctx, "list-erasures", "", nil, 200), a.do(ctx, "list-replays", "", nil, 200), a.do(ctx, "get-stats", "?window=5m", nil, 200), a.do(ctx, "get-activity", "?window=1h&lanes=true", nil, 200),
		a.do(ctx, "preview-replay", "", map[string]any{"since": anHourAgo(), "mode": "all"}, 200),
	}
}

// exercise calls what is neither a list nor part of furnish, deletions last.
func (a *actor) exercise(ctx context.Context) {
	a.t.Helper()
	for _, op := range []string{"get-agent", "get-webhook", "get-delivery", "get-event", "get-message", "get-raw-message", "get-attachment", "get-message-field", "get-replay", "get-domain", "get-event-type", "get-erasure", "get-tenant", "get-quota", "verify-domain", "list-deliveries", "list-event-matches", "get-delivery-request", "export-tenant"} {
		a.do(ctx, op, "", nil, 200)
	}
	a.do(ctx, "export-tenant", "?what=configuration", nil, 200)
	list := &actor{contract: a.contract, key: a.key, ids: maps.Clone(a.ids)}
	for path := range list.ids {
		if strings.HasSuffix(path, "/fields/") {
			list.ids[path] = "attachments"
		}
	}
	require.Nil(a.t, list.do(ctx, "get-message-field", "", nil, 200), "a list, no object")
	require.Eventually(a.t, func() bool { // its owner gets it within seconds
		r := a.routes["get-webhook-lane"]
		req, err := http.NewRequestWithContext(ctx, r.method, a.base+fill(r.path, a.ids), nil)
		if err != nil {
			return false
		}
		req.Header.Set("Authorization", "Bearer "+a.key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	a.do(ctx, "get-webhook-lane", "", nil, 200)
	a.do(ctx, "create-event", "", map[string]any{"type": "email.sent", "data": map[string]any{"n": 1}, "labels": []string{"vip"}}, 202)
	a.do(ctx, "tail-events", "?types=email.sent&since="+anHourAgo(), nil, 200)
	a.do(ctx, "create-event", "", map[string]any{"type": "webhook.disabled", "data": map[string]any{}}, 422)
	own := a.ids["/v1/event-types/"]
	a.do(ctx, "create-event", "", map[string]any{"type": own, "data": map[string]any{"id": 2}}, 202)
	a.do(ctx, "create-event", "", map[string]any{"type": own, "data": map[string]any{}}, 422)
	a.do(ctx, "change-event-type", "", map[string]any{"deprecated": true, "schema": nil}, 200)
	a.deliverToOwn(ctx)
	a.do(ctx, "change-webhook", "", map[string]any{"description": "changed", "rate_limit": nil}, 200)
	a.do(ctx, "rotate-webhook-secret", "", nil, 200)
	a.do(ctx, "redeliver-event", "", map[string]any{"webhook_id": a.ids["/v1/webhooks/"]}, 202)
	a.do(ctx, "retry-delivery", "", nil, 409) // it is delivered
	a.do(ctx, "retry-webhook-deliveries", "", map[string]any{"since": anHourAgo()}, 200)
	tested := a.do(ctx, "test-webhook", "", map[string]any{"type": "email.received"}, 202)
	require.Equal(a.t, "pending", tested["status"])
	a.consume(ctx)
	a.do(ctx, "cancel-replay", "", nil, 202, 409) // 409: it has completed
	a.do(ctx, "rotate-key", "", map[string]any{"overlap": "1h"}, 200)
	a.do(ctx, "create-erasure", "", map[string]any{"address": "nobody"}, 422)
	require.Equal(a.t, "running", a.do(ctx, "delete-message", "", nil, 202)["state"])
	for _, op := range []string{"revoke-portal-link", "revoke-key", "delete-webhook", "delete-agent", "delete-domain", "delete-event-type"} {
		a.do(ctx, op, "", nil, 204)
	}
	a.do(ctx, "get-webhook", "", nil, 404)
}
