package eventtype_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestALookUpReadsAnIndexForEachName has 200 tenants with 500 types each, and an operator with as many.
func TestALookUpReadsAnIndexForEachName(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) SELECT gen_random_uuid(), 'test' FROM generate_series(1, 200)`)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `INSERT INTO fanmail.event_types (tenant_id, name, schema, schema_hash)
		SELECT t.id, 'order.t' || n, '{}', decode(repeat('ab', 32), 'hex') FROM (SELECT id FROM fanmail.tenants UNION ALL SELECT NULL) AS t, generate_series(1, 500) AS n`)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `VACUUM ANALYZE fanmail.event_types`)
	require.NoError(t, err)
	var tenant events.TenantID
	require.NoError(t, pool.QueryRow(ctx, `SELECT id FROM fanmail.tenants LIMIT 1`).Scan(&tenant))
	r := pgplan.Open(t, url)
	bound := func(part string, rows int) {
		t.Helper()
		r.Of(t, part).Within(t, pgplan.Bound{Indexes: []string{"event_types_tenant_id_name_key", "event_types_operator"}, Rows: rows, Sorted: 2 * rows, Blocks: 8 * rows})
	}
	keys := []eventtype.Key{{TenantID: tenant, Name: "order.t7"}, {TenantID: tenant, Name: "order.t400"}, {TenantID: tenant, Name: "none.at_all"}}
	found, err := eventtype.LookUp(ctx, r.Pool, keys)
	require.NoError(t, err)
	require.Len(t, found, 2)
	bound("unnest($1::uuid[], $2::text[])", 40)
	r.Reset()
	_, err = eventtype.Get(ctx, r.Pool, tenant, "order.t7")
	require.NoError(t, err)
	bound("SELECT 1 AS rank, tenant_id", 12)
	r.Reset()
	list, err := eventtype.List(ctx, r.Pool, tenant, "order.t2", 20, eventtype.Which{Own: true, Operator: true})
	require.NoError(t, err)
	require.Len(t, list, 20)
	// The operator has types of the same names: each is looked up among the tenant's.
	bound("AS o WHERE tenant_id IS NULL", 3*eventtype.MaxTypes)
	r.Reset()
	_, _, err = eventtype.SchemaOf(ctx, r.Pool, keys[0])
	require.NoError(t, err)
	bound("SELECT 1 AS rank, schema,", 12)
	r.Reset()
	missing, err := eventtype.Hold(ctx, r.Pool, tenant, []events.Type{"order.t7", "email.sent", "order.*", "none.at_all"})
	require.NoError(t, err)
	require.Equal(t, events.Type("none.at_all"), missing)
	bound("FOR KEY SHARE", 40)
	first, err := eventtype.FirstOf(ctx, r.Pool, tenant, "order.*")
	require.NoError(t, err)
	require.Equal(t, events.Type("order.t1"), first)
}
