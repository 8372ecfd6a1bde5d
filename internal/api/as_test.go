package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// inside calls the handler in process as a principal.
func inside(t *testing.T, h http.Handler, p tenancy.Principal, method, path string, body any, headers ...string) *answer {
	t.Helper()
	enc := []byte(nil)
	if body != nil {
		var err error
		enc, err = json.Marshal(body)
		require.NoError(t, err)
	}
	r := httptest.NewRequestWithContext(api.As(t.Context(), p), method, path, bytes.NewReader(enc))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	out := httptest.NewRecorder()
	h.ServeHTTP(out, r)
	a := &answer{status: out.Code, header: out.Header(), raw: out.Body.Bytes()}
	_ = json.Unmarshal(a.raw, &a.json)
	return a
}

func handler(t *testing.T) (http.Handler, *world) {
	t.Helper()
	var o api.Options
	w := start(t, func(given *api.Options) { o = *given })
	h, err := api.NewHandler(o)
	require.NoError(t, err)
	return h, w
}

func TestAnInProcessCallerIsItsPrincipal(t *testing.T) {
	t.Parallel()
	h, w := handler(t)
	c, other := w.tenant(), w.tenant()
	made := c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"write"}, "rate_limit": 1000}).want(t, 201)
	p, err := tenancy.Identify(t.Context(), w.pool, id[events.APIKeyKind](t, made.text("id")))
	require.NoError(t, err)
	hook := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
	first := inside(t, h, p, "POST", "/v1/webhooks", hook, "Idempotency-Key", "k").want(t, 201)
	again := inside(t, h, p, "POST", "/v1/webhooks", hook, "Idempotency-Key", "k").want(t, 201)
	require.Equal(t, string(first.raw), string(again.raw))
	require.Equal(t, []string{first.text("id")}, c.do("GET", "/v1/webhooks", nil).want(t, 200).ids(t, "id"))
	require.NotEmpty(t, first.header.Get("RateLimit-Limit"))

	// Another session's secret opens no answer of this one.
	p.Secret = "another session's token"
	inside(t, h, p, "POST", "/v1/webhooks", hook, "Idempotency-Key", "k").want(t, 422)

	// It has neither more rights than its key, nor another tenant.
	inside(t, h, p, "POST", "/v1/keys", map[string]any{}).want(t, 403)
	more := p
	more.Rights = tenancy.RoleAdmin.Rights()
	inside(t, h, more, "POST", "/v1/keys", map[string]any{}).want(t, 403)
	more.TenantID = id[events.TenantKind](t, other.tenantID)
	inside(t, h, more, "GET", "/v1/webhooks", nil).want(t, 401)
	inside(t, h, tenancy.Principal{}, "GET", "/v1/webhooks", nil, "Authorization", "Bearer "+c.key).want(t, 401)

	// A revocation ends it.
	c.do("DELETE", "/v1/keys/"+made.text("id"), nil).want(t, 204)
	inside(t, h, p, "GET", "/v1/webhooks", nil).want(t, 401)
}

func TestAMemberOfATenantHasItsRolesAndQuota(t *testing.T) {
	t.Parallel()
	h, w := handler(t)
	c := w.tenant()
	of := id[events.TenantKind](t, c.tenantID)
	viewer, err := tenancy.OfSubject(t.Context(), w.pool, "issuer#ann", "ann@example.com", false, of, tenancy.RoleRead)
	require.NoError(t, err)
	inside(t, h, viewer, "GET", "/v1/webhooks", nil).want(t, 200)
	inside(t, h, viewer, "POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.sent"}}).want(t, 403)
	inside(t, h, viewer, "GET", "/v1/tenants", nil).want(t, 403)
	operator, err := tenancy.OfSubject(t.Context(), w.pool, "issuer#bob", "bob@example.com", true, events.TenantID{}, tenancy.RoleAdmin)
	require.NoError(t, err)
	inside(t, h, operator, "GET", "/v1/tenants", nil).want(t, 200)

	// The quota of the tenant holds for its members, with its keys together.
	w.operator.do("PATCH", "/v1/tenants/"+c.tenantID+"/quota", map[string]any{"requests_per_second": 1}).want(t, 200)
	limited := 0
	for range 20 {
		if inside(t, h, viewer, "GET", "/v1/webhooks", nil).status == 429 {
			limited++
		}
	}
	require.Positive(t, limited)
}

// A stored answer of one member is not another's, though both have no secret of their own.
func TestAStoredAnswerIsForItsMemberAlone(t *testing.T) {
	t.Parallel()
	h, w := handler(t)
	c := w.tenant()
	of := id[events.TenantKind](t, c.tenantID)
	hook := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
	for _, c := range []struct {
		subject string
		status  int
	}{{"ann", 201}, {"ann", 201}, {"bob", 422}} {
		p, err := tenancy.OfSubject(t.Context(), w.pool, c.subject, c.subject, false, of, tenancy.RoleWrite)
		require.NoError(t, err)
		inside(t, h, p, "POST", "/v1/webhooks", hook, "Idempotency-Key", "k").want(t, c.status)
	}
	require.Len(t, c.do("GET", "/v1/webhooks", nil).want(t, 200).ids(t, "id"), 1)
}
