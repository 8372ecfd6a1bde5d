package tenancy_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestTenantsAreFoundByTheBeginningOfTheirName also with characters that mean something in a pattern.
func TestTenantsAreFoundByTheBeginningOfTheirName(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	ctx := t.Context()
	for _, name := range []string{"Acme", "acme two", "ACME", "Bcme", "100%", "100x", `a\b`, "über", "a_b", "axb"} {
		_, err := tenancy.Create(ctx, pool, tenancy.NewTenant{Name: name})
		require.NoError(t, err)
	}
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) SELECT gen_random_uuid(), 'zz ' || i FROM generate_series(1, 20000) AS i; ANALYZE fanmail.tenants`)
	require.NoError(t, err)
	rec := pgplan.Open(t, url)
	find := func(prefix string) (names []string) {
		after := events.TenantID{}
		for {
			rec.Reset()
			page, err := tenancy.Search(ctx, rec.Pool, prefix, after, 2)
			require.NoError(t, err)
			indexes := []string{"tenants_name"}
			if !after.IsZero() {
				indexes = append(indexes, "tenants_pkey")
			}
			rec.Of(t, "lower(name)").Within(t, pgplan.Bound{Indexes: indexes, Rows: 20, Blocks: 40})
			for _, found := range page {
				names = append(names, found.Name)
			}
			if len(page) < 2 {
				return names
			}
			after = page[1].ID
		}
	}
	for prefix, want := range map[string][]string{
		"acme": {"ACME", "Acme", "acme two"}, "ACME T": {"acme two"}, "100%": {"100%"}, "a_": {"a_b"}, `a\`: {`a\b`},
		"üB": {"über"}, "nobody": nil, "'": nil,
	} {
		require.ElementsMatch(t, want, find(prefix), prefix)
	}
	rec.Reset()
	list, err := tenancy.List(ctx, rec.Pool, tenancy.Position{CreatedAt: "infinity", ID: [16]byte{}}, 3)
	require.NoError(t, err)
	require.Len(t, list, 3)
	rec.Of(t, "ORDER BY created_at").Within(t, pgplan.Bound{Indexes: []string{"tenants_created"}, Rows: 10, Blocks: 20})
	got, err := tenancy.Get(ctx, pool, list[0].ID)
	require.NoError(t, err)
	require.Equal(t, list[0], got)
	_, err = tenancy.Get(ctx, pool, events.NewRandom[events.TenantKind]())
	require.ErrorIs(t, err, pgx.ErrNoRows)
	names, err := tenancy.TenantNames(ctx, pool, []events.TenantID{list[0].ID, events.NewRandom[events.TenantKind]()})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(map[events.TenantID]string{list[0].ID: list[0].Name}), fmt.Sprint(names))
}
