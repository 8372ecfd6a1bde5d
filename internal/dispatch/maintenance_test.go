package dispatch_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestARoundOfMaintenanceDisablesExpiresAndForgets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dead, waiting := r.webhook("/dead"), r.webhook("/waiting")
	r.exec(`UPDATE fanmail.webhooks SET enabled_at = now() - interval '40 days'`)
	r.exec(`SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 31, 32)`)
	r.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, attempts, max_attempts,
			event_type, status, last_attempt_at, finished_at)
		SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now(), n, 8, 8, 'email.received', 'failed', now(), now() FROM generate_series(1, 10) AS n`, dead, r.tenant)
	r.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), at, $1, $2, gen_random_uuid(), at, now(), at + interval '30 days', n, 8, 'email.received'
		FROM generate_series(1, 3) AS n, (SELECT now() - interval '30 days 1 minute' AS at) AS old`, waiting, r.tenant)
	r.exec(`UPDATE fanmail.webhooks SET previous_secrets = '{old}', previous_until = ARRAY[now() + CASE WHEN id = $1 THEN interval '-1 second' ELSE interval '1 hour' END]`, dead)

	reg := prometheus.NewRegistry()
	var also int
	m := dispatch.NewMaintenance(r.pool, dispatch.MaintenanceOptions{
		Registerer: reg, Retention: subscribers.RetentionRules(retention.Policy{}),
		Also: func(context.Context) error { also++; return nil },
	})
	require.NoError(t, m.Round(r.ctx()))
	var enabled bool
	require.NoError(t, r.pool.QueryRow(r.ctx(), `SELECT enabled FROM fanmail.webhooks WHERE id = $1`, dead).Scan(&enabled))
	require.False(t, enabled)
	require.Equal(t, 1, also)
	require.Equal(t, map[string]int{"failed": 13}, r.statuses())
	expected := map[string]float64{"fanmail_maintenance_disabled_webhooks_total": 1, "fanmail_maintenance_expired_deliveries_total": 3}
	for name, want := range expected {
		require.InDelta(t, want, value(t, reg, name), 0, name)
	}
	var forgotten, kept bool
	require.NoError(t, r.pool.QueryRow(r.ctx(), `SELECT bool_and(previous_secrets = '{}' AND previous_until = '{}') FILTER (WHERE id = $1),
		bool_and(previous_secrets = '{old}') FILTER (WHERE id = $2) FROM fanmail.webhooks`, dead, waiting).Scan(&forgotten, &kept))
	require.True(t, forgotten, "the secret past its grace")
	require.True(t, kept, "the secret within it")
}

func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	require.FailNow(t, "no such metric", name)
	return 0
}

func TestADisablingThatCannotBeToldIsUndone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/dead")
	r.exec(`UPDATE fanmail.webhooks SET enabled_at = now() - interval '40 days'`)
	r.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, attempts, max_attempts,
			event_type, status, last_attempt_at, finished_at)
		SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now(), n, 8, 8, 'email.received', 'failed', now(), now() FROM generate_series(1, 10) AS n`, w, r.tenant)
	r.exec(`ALTER TABLE fanmail.operational_events RENAME TO elsewhere`)
	also := false
	m := dispatch.NewMaintenance(r.pool, dispatch.MaintenanceOptions{
		Also: func(context.Context) error { also = true; return nil },
	})
	require.ErrorContains(t, m.Round(r.ctx()), "operational_events")
	require.True(t, also, "the rest of the round was done")
	var enabled bool
	require.NoError(t, r.pool.QueryRow(r.ctx(), `SELECT enabled FROM fanmail.webhooks WHERE id = $1`, w).Scan(&enabled))
	require.True(t, enabled)
}

func TestTwoReplicasNeverMaintainAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var rounds atomic.Int32
	begun, release := make(chan struct{}), make(chan struct{})
	replica := func() *dispatch.Maintenance {
		return dispatch.NewMaintenance(r.open(), dispatch.MaintenanceOptions{Also: func(context.Context) error {
			if rounds.Add(1) == 1 {
				close(begun)
				<-release
			}
			return nil
		}})
	}
	first, second := replica(), replica()
	done := make(chan error, 1)
	go func() { done <- first.Round(context.Background()) }()
	<-begun
	require.NoError(t, second.Round(r.ctx()))
	require.Equal(t, int32(1), rounds.Load())
	close(release)
	require.NoError(t, <-done)
	require.NoError(t, second.Round(r.ctx()))
	require.Equal(t, int32(2), rounds.Load(), "the lock is given back")
}
