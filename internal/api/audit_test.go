package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryChangeIsInTheAuditLog calls every operation that is no GET. One that succeeds has
// an entry, and no entry has a secret.
func TestEveryChangeIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	w, c, p, paths := planting(t)
	done := map[string]bool{}
	for _, method := range []string{"POST", "PATCH", "DELETE"} {
		for pattern, item := range paths {
			raw, ok := item[strings.ToLower(method)]
			if !ok {
				continue
			}
			var o operation
			require.NoError(t, json.Unmarshal(raw, &o))
			for _, path := range p.paths(t, pattern) {
				for _, who := range []client{c, w.operator} {
					body := soundBody(pattern, c)
					if method != "POST" {
						body = map[string]any{}
					}
					want := w.audited(t, o.ID)
					a := who.do(method, path, body)
					if a.status < 300 && !unaudited[o.ID] {
						want++
						done[o.ID] = true
					}
					require.Equal(t, want, w.audited(t, o.ID), "%s %s: %d", method, path, a.status)
				}
			}
		}
	}
	require.Greater(t, len(done), 8)
	p.notStored(t, w)
}

func (w *world) audited(t *testing.T, operation string) (n int) {
	t.Helper()
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.audit_log WHERE operation = $1`, operation).Scan(&n))
	return n
}

func TestTheAuditLogSaysWhoChangedWhat(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	hook := c.webhook()
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"description": "new"}).want(t, 200)
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"url": "nonsense"}).want(t, 422)
	got := c.do("GET", "/v1/audit?object="+hook+"&operation=change-webhook", nil).want(t, 200).json["data"].([]any)
	require.Len(t, got, 1)
	w.operator.do("GET", "/v1/audit?tenant_id=x", nil).want(t, 422).names(t, "query.tenant_id")
	e := got[0].(map[string]any)
	require.Empty(t, e["before"].(map[string]any)["description"])
	require.Equal(t, "new", e["after"].(map[string]any)["description"])
	require.Equal(t, "key", e["actor_kind"])
	require.Equal(t, "127.0.0.1", e["address"])
	require.Empty(t, other.do("GET", "/v1/audit?object="+hook, nil).want(t, 200).json["data"])
	other.do("GET", "/v1/audit?tenant_id="+c.tenantID, nil).want(t, 404)
	w.operator.do("PATCH", "/v1/tenants/"+c.tenantID+"/quota", map[string]any{"keys": 7}).want(t, 200)
	require.Len(t, c.do("GET", "/v1/audit?operation=change-quota", nil).want(t, 200).json["data"], 1)
	c.event()
	require.Zero(t, w.audited(t, "create-event"))
}

func TestAChangeThatLeavesAnObjectAsItWasStoresNoCopy(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.agent("a@example.com").want(t, 201)
	for range 3 {
		c.do("PATCH", "/v1/agents/a@example.com", map[string]any{"allow_senders": []string{"@friends.example"}}).want(t, 200)
	}
	list := c.do("GET", "/v1/audit?operation=change-agent", nil).want(t, 200).json["data"].([]any)
	require.Len(t, list, 3, "each has its entry")
	for i, e := range list {
		e := e.(map[string]any)
		require.Equal(t, "a@example.com", e["object"])
		if i < 2 {
			require.Nil(t, e["before"])
			require.Nil(t, e["after"])
			continue
		}
		require.Empty(t, e["before"].(map[string]any)["allow_senders"])
		require.Equal(t, []any{"@friends.example"}, e["after"].(map[string]any)["allow_senders"])
	}
	auth := func(password string) map[string]any {
		return map[string]any{"auth": map[string]any{"type": "basic", "username": "user", "password": password}}
	}
	hook := c.webhook()
	c.do("PATCH", "/v1/webhooks/"+hook, auth("one")).want(t, 200)
	c.do("PATCH", "/v1/webhooks/"+hook, auth("two")).want(t, 200)
	secret := c.do("GET", "/v1/audit?operation=change-webhook", nil).want(t, 200).json["data"].([]any)[0].(map[string]any)
	require.Equal(t, hook, secret["after"].(map[string]any)["id"], "a secret that no copy shows is a change")
}
