package tenancy_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestPortalLinksAreFoundByTheirIndexes among those of other tenants, and among many that have ended.
func TestPortalLinksAreFoundByTheirIndexes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	one := events.NewRandom[events.TenantKind]()
	const ended, valid = 20_000, 500
	for _, fill := range []string{
		`INSERT INTO fanmail.tenants (id, name) SELECT gen_random_uuid(), 'other' FROM generate_series(1, 200 + 0 * $2::int + 0 * $3::int) UNION ALL SELECT $1, 'one'`,
		// Of the one tenant most links have ended, a tenth of them long ago; those of the others are valid.
		`INSERT INTO fanmail.portal_links (id, tenant_id, webhook_ids, token_hash, origins, theme, created_at, expires_at)
			SELECT gen_random_uuid(), t.id, '{}', sha256(convert_to(t.id::text || i, 'UTF8')), '{}', '{}', now() - make_interval(secs => i),
				now() + CASE WHEN t.id <> $1 OR i > $2 THEN make_interval(secs => 600 + i) WHEN i <= $2 / 10 THEN interval '-31 days' ELSE interval '-1 hour' END
			FROM fanmail.tenants AS t, generate_series(1, CASE WHEN t.id = $1 THEN $2::int + $3::int ELSE $3::int END) AS i`,
	} {
		_, err := pool.Exec(ctx, fill, one, ended, valid)
		require.NoError(t, err)
	}
	_, err := pool.Exec(ctx, `VACUUM ANALYZE fanmail.portal_links`)
	require.NoError(t, err)
	rec := pgplan.Open(t, url)

	link, token, err := tenancy.CreatePortal(ctx, rec.Pool, tenancy.NewPortal{TenantID: one, Webhooks: []events.WebhookID{events.NewRandom[events.WebhookKind]()}})
	require.NoError(t, err)
	_, _, err = tenancy.OpenPortal(ctx, rec.Pool, token)
	require.NoError(t, err)
	rec.Of(t, "token_hash = $1").Within(t, pgplan.Bound{Indexes: []string{"portal_links_token_hash_key", "tenants_pkey"}, Rows: 2, Blocks: 10})
	n, err := tenancy.CountPortals(ctx, rec.Pool, one, tenancy.MaxPortalLinks)
	require.NoError(t, err)
	require.EqualValues(t, valid+1, n)
	rec.Of(t, "SELECT count(*) FROM (SELECT FROM fanmail.portal_links").Within(t, pgplan.Bound{Indexes: []string{"portal_links_valid"}, Rows: valid + 10, Blocks: 2 * valid})
	after, seen := tenancy.Position{CreatedAt: "infinity", ID: events.PortalID{}}, map[events.PortalID]bool{}
	for {
		rec.Reset()
		found, _, err := tenancy.ListPortals(ctx, rec.Pool, one, after, 200)
		require.NoError(t, err)
		rec.Of(t, "AS wanted_id").Within(t, pgplan.Bound{
			Indexes: []string{"portal_links_pkey", "portal_links_valid"}, Rows: 3 * (valid + 10), Sorted: 2 * (valid + 10), Blocks: 6 * valid,
		})
		for _, p := range found {
			require.False(t, seen[p.ID])
			seen[p.ID] = true
			after = tenancy.Position{CreatedAt: p.CreatedAt, ID: p.ID}
		}
		if len(found) < 200 {
			break
		}
	}
	require.Len(t, seen, valid+1)
	_, err = tenancy.RevokePortal(ctx, rec.Pool, one, link.ID)
	require.NoError(t, err)
	rec.Of(t, "SET revoked_at").Within(t, pgplan.Bound{Indexes: []string{"portal_links_pkey"}, Rows: 1, Blocks: 40})

	gone, err := rec.Pool.Exec(ctx, tenancy.DeletePortals, tenancy.KeepPortals.Seconds())
	require.NoError(t, err)
	require.EqualValues(t, ended/10, gone.RowsAffected())
	rec.Of(t, "DELETE FROM fanmail.portal_links").Within(t, pgplan.Bound{
		Indexes: []string{"portal_links_ended", "portal_links_pkey"}, Rows: 2*ended/10 + 10, Sorted: ended / 10, Blocks: 2 * ended,
	})
}
