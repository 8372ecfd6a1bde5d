package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestMaintenanceHoldsATenantToItsOwnTime runs a round of `fanmail maintain` with the installation's time, and what an
// operator has set for a tenant.
func TestMaintenanceHoldsATenantToItsOwnTime(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	exec := func(sql string) {
		t.Helper()
		_, err := pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	exec(`SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 31, 33)`)
	exec(`INSERT INTO fanmail.tenants (id, name) SELECT lpad(i::text, 32, '0')::uuid, 'test' FROM generate_series(1, 2) AS i`)
	exec(`INSERT INTO fanmail.tenant_quotas (tenant_id, event_days) VALUES (lpad('1', 32, '0')::uuid, 4)`)
	exec(`INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT gen_random_uuid(), now() - make_interval(days => days, mins => 1), lpad(tenant::text, 32, '0')::uuid, 'email.received', days, '{}'
		FROM unnest('{1,4,6,9}'::int[]) AS days, generate_series(1, 2) AS tenant`)
	left := func(tenant string) (days []int64) {
		t.Helper()
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT array_agg(seq ORDER BY seq) FROM fanmail.events WHERE tenant_id = lpad($1, 32, '0')::uuid`, tenant).Scan(&days))
		return days
	}
	require.NoError(t, Maintain(t.Context(), Database{URL: secret.Text(url)}, 0, Retention{Kept: Kept{Events: 6 * 24 * time.Hour}}, Lifecycle{}, zap.NewNop()))
	require.Equal(t, []int64{1}, left("1"))
	require.Equal(t, []int64{1, 4, 6}, left("2"), "a day is dropped a day after its last row is past its time")
}
