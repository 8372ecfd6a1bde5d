package api_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestNobodyChangesADeletedTenant calls each operation with which an operator changes what a tenant has.
func TestNobodyChangesADeletedTenant(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	of := "?tenant_id=" + c.tenantID
	key := w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID}).want(t, 201).text("id")
	w.operator.do("POST", "/v1/domains", map[string]any{"domain": "shop.example", "tenant_id": c.tenantID}).want(t, 201)
	c.do("POST", "/v1/event-types", map[string]any{"name": "order.made"}).want(t, 201)
	path := "/v1/tenants/" + c.tenantID
	calls := map[string]struct {
		url  string
		body map[string]any
	}{
		"change-quota":   {path + "/quota", map[string]any{"keys": 7}},
		"change-tenant":  {path, map[string]any{"alert_addresses": []string{"ann@shop.example"}}},
		"create-domain":  {"/v1/domains", map[string]any{"domain": "new.example", "tenant_id": c.tenantID}},
		"create-key":     {"/v1/keys", map[string]any{"tenant_id": c.tenantID}},
		"delete-domain":  {"/v1/domains/shop.example" + of, nil},
		"delete-tenant":  {path, nil},
		"revoke-key":     {"/v1/keys/" + key, nil},
		"rotate-key":     {"/v1/keys/" + key + "/rotate", map[string]any{}},
		"verify-domain":  {"/v1/domains/shop.example/verify" + of, nil},
		"restore-tenant": {path + "/restore", nil},
	}
	// These change what an operator's tenant or all tenants have.
	others := []string{"change-event-type", "create-event-type", "create-tenant", "delete-event-type"}
	var called []string
	deleted := w.operator.do("DELETE", path, nil).want(t, 202)
	before := w.rowsOf(t, c.tenantID)
	require.NotEmpty(t, before)
	for _, o := range operations(t) {
		if o.method == "GET" || !slices.ContainsFunc(o.Callers, func(c string) bool { return strings.HasPrefix(c, "operator") }) || slices.Contains(others, o.ID) || o.ID == "restore-tenant" {
			continue
		}
		call, ok := calls[o.ID]
		require.True(t, ok, "no call of %s is tested", o.ID)
		called = append(called, o.ID)
		var body any
		if call.body != nil {
			body = call.body
		}
		refused := w.operator.do(o.method, call.url, body).want(t, 409)
		require.Contains(t, refused.text("detail"), "was deleted", o.ID)
		require.Equal(t, before, w.rowsOf(t, c.tenantID), o.ID)
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(calls)), append(called, "restore-tenant"))
	for _, read := range []string{path, path + "/quota", "/v1/keys" + of, "/v1/domains" + of, "/v1/events" + of, "/v1/erasures/" + deleted.text("id"), "/v1/audit" + of} {
		w.operator.do("GET", read, nil).want(t, 200)
	}
	w.operator.do("POST", calls["restore-tenant"].url, nil).want(t, 200)
	w.operator.do("POST", "/v1/keys", calls["create-key"].body).want(t, 201)
}

// rowsOf are all rows of a tenant, but the erasures that can't be created twice.
func (w *world) rowsOf(t *testing.T, tenant string) (all []string) {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `SELECT k.relname::text FROM pg_class AS k JOIN pg_attribute AS a ON a.attrelid = k.oid AND a.attname = 'tenant_id'
		WHERE k.relnamespace = 'fanmail'::regnamespace AND k.relkind IN ('r', 'p') AND NOT k.relispartition`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	for _, table := range append(tables, "tenants") {
		column := "tenant_id"
		if table == "tenants" {
			column = "id"
		}
		rows, err := w.pool.Query(t.Context(), `SELECT $2::text || ' ' || r::text FROM fanmail.`+table+` AS r WHERE `+column+` = $1::text::uuid ORDER BY 1`, strings.TrimPrefix(tenant, "ten_"), table)
		require.NoError(t, err)
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		all = append(all, list...)
	}
	return all
}
