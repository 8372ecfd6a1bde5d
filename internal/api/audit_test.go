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
