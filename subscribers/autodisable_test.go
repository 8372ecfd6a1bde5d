package subscribers_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// failed inserts n deliveries of the webhook that failed by an attempt hoursAgo.
func (s *tenantStore) failed(t *testing.T, w events.WebhookID, n int, hoursAgo float64) {
	t.Helper()
	_, err := s.pool.Exec(context.Background(), `
		WITH inserted AS (
			INSERT INTO fanmail.webhook_subscriber_deliveries
				(id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, attempts, max_attempts, event_type, status,
				 last_error, last_status_code, last_attempt_at, finished_at)
			SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now() + interval '30 days', n, 8, 8, 'email.received', 'failed',
				'answered 500', 500, now() - make_interval(secs => $4 * 3600), now() - make_interval(secs => $4 * 3600)
			FROM generate_series(1, $3::int) AS n RETURNING id, created_at
		)
		INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason)
		SELECT id, created_at, 8, now(), 5, 500, 'status_5xx' FROM inserted`, w, s.tenant, n, hoursAgo)
	require.NoError(t, err)
}

func (s *tenantStore) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := s.pool.Exec(context.Background(), sql, args...)
	require.NoError(t, err)
}

// disable runs the check once and returns the webhooks that it disabled.
func (s *tenantStore) disable(t *testing.T) []subscribers.Disabled {
	t.Helper()
	var list []subscribers.Disabled
	require.NoError(t, pgx.BeginFunc(context.Background(), s.pool, func(tx pgx.Tx) error {
		var err error
		list, err = subscribers.DisableFailing(context.Background(), tx)
		return err
	}))
	return list
}

func TestAWebhookThatOnlyFailsIsDisabledAtTheTenthFailure(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w, few := s.webhook(t), s.webhook(t)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days'`)
	s.failed(t, w.ID, 9, 1)
	s.failed(t, few.ID, 9, 1)
	require.Empty(t, s.disable(t))
	s.failed(t, w.ID, 1, 71.9)
	s.failed(t, few.ID, 5, 72.1)
	got := s.disable(t)
	require.Len(t, got, 1)
	require.Equal(t, w.ID, got[0].ID)
	require.Equal(t, s.tenant, got[0].TenantID)
	require.Equal(t, w.URL, got[0].URL)
	now, err := s.Get(ctx, s.tenant, w.ID)
	require.NoError(t, err)
	require.False(t, now.Enabled)
	require.Equal(t, got[0].At, *now.AutoDisabledAt)
	require.Equal(t, got[0].Reason, now.DisabledReason)
	require.Contains(t, now.DisabledReason, "at least 10 deliveries failed and none succeeded within 72 hours")
	require.Empty(t, s.disable(t), "it is disabled once")

	// It can be enabled after the cool-down, and the count starts at zero.
	on := true
	_, err = s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Enabled: &on})
	require.ErrorIs(t, err, subscribers.ErrCooldown)
	s.exec(t, `UPDATE fanmail.webhooks SET auto_disabled_at = now() - interval '5 minutes 1 second' WHERE id = $1`, w.ID)
	now, err = s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Enabled: &on})
	require.NoError(t, err)
	require.Nil(t, now.AutoDisabledAt)
	require.Empty(t, now.DisabledReason)
	s.failed(t, w.ID, 9, -0.001)
	require.Empty(t, s.disable(t))
	s.failed(t, w.ID, 1, -0.001)
	require.Len(t, s.disable(t), 1)
}

func TestAWebhookWithABrokerThatOnlyFailsIsDisabledToo(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	w, _, err := s.Create(context.Background(), s.tenant, subscribers.Webhook{
		Kind: subscribers.KindNATS, URL: "tls://broker.example.com:4222", Subject: "mail.in", Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days'`)
	s.failed(t, w.ID, 10, 1)
	got := s.disable(t)
	require.Len(t, got, 1)
	require.Equal(t, w.ID, got[0].ID)
}

func TestAPausedWebhookIsNotDisabledAndStartsToCountWhenItIsResumed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w := s.webhook(t)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days'`)
	s.failed(t, w.ID, 12, 1)
	on, off := true, false
	paused, err := s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Paused: &on})
	require.NoError(t, err)
	require.True(t, paused.Enabled && paused.Paused)
	require.NotNil(t, paused.PausedAt)
	again, err := s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Paused: &on})
	require.NoError(t, err)
	require.Equal(t, paused.PausedAt, again.PausedAt, "it is paused since then")
	require.Empty(t, s.disable(t), "its events would be lost to it")
	resumed, err := s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Paused: &off})
	require.NoError(t, err)
	require.Nil(t, resumed.PausedAt)
	require.Nil(t, resumed.MissedSince, "it has missed nothing")
	require.Empty(t, s.disable(t), "failures from before do not count")
	s.failed(t, w.ID, 10, -0.001)
	require.Len(t, s.disable(t), 1)
}

func TestWhatDoesNotCountTowardsDisabling(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	for name, change := range map[string]string{
		"a success within 72 hours": `UPDATE fanmail.webhooks SET last_delivered_at = now() - interval '71 hours' WHERE id = $1`,
		"disabled by its owner":     `UPDATE fanmail.webhooks SET enabled = false WHERE id = $1`,
		"deleted":                   `UPDATE fanmail.webhooks SET deleted_at = now() WHERE id = $1`,
		"enabled since":             `UPDATE fanmail.webhooks SET enabled_at = now() - interval '59 minutes' WHERE id = $1`,
		"tests":                     `UPDATE fanmail.webhook_subscriber_deliveries SET kind = 'test' WHERE webhook_id = $1 AND seq > 5`,
		"replays":                   `UPDATE fanmail.webhook_subscriber_deliveries SET kind = 'replay', replay_id = gen_random_uuid() WHERE webhook_id = $1 AND seq > 5`,
		"expired":                   `UPDATE fanmail.webhook_subscriber_deliveries SET last_error = 'expired', last_attempt_at = now() - interval '2 hours' WHERE webhook_id = $1`,
		"never attempted":           `UPDATE fanmail.webhook_subscriber_deliveries SET attempts = 0, last_attempt_at = NULL WHERE webhook_id = $1`,
		"refused by the guard":      `UPDATE fanmail.webhook_delivery_attempts AS a SET reason = 'blocked' FROM fanmail.webhook_subscriber_deliveries AS d WHERE d.id = a.delivery_id AND d.webhook_id = $1`,
		"plain http, which is off":  `UPDATE fanmail.webhook_delivery_attempts AS a SET reason = 'request' FROM fanmail.webhook_subscriber_deliveries AS d WHERE d.id = a.delivery_id AND d.webhook_id = $1`,
		"cut short by our stopping": `UPDATE fanmail.webhook_delivery_attempts AS a SET reason = 'stopped' FROM fanmail.webhook_subscriber_deliveries AS d WHERE d.id = a.delivery_id AND d.webhook_id = $1`,
		"pending still":             `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'pending', finished_at = NULL, next_retry_at = now() WHERE webhook_id = $1`,
	} {
		w := s.webhook(t)
		s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days' WHERE id = $1`, w.ID)
		s.failed(t, w.ID, 12, 1)
		s.exec(t, change, w.ID)
		require.Empty(t, s.disable(t), name)
		s.exec(t, `DELETE FROM fanmail.webhook_subscriber_deliveries`)
	}
	// The same failures without such a change.
	w := s.webhook(t)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days', last_delivered_at = now() - interval '73 hours' WHERE id = $1`, w.ID)
	s.failed(t, w.ID, 12, 1)
	require.Len(t, s.disable(t), 1)
}

func TestDisablingRollsBackWithTheCallersTransaction(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w := s.webhook(t)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days'`)
	s.failed(t, w.ID, 10, 1)
	undone := errors.New("undone")
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		list, err := subscribers.DisableFailing(ctx, tx)
		require.NoError(t, err)
		require.Len(t, list, 1)
		return undone
	})
	require.ErrorIs(t, err, undone)
	now, err := s.Get(ctx, s.tenant, w.ID)
	require.NoError(t, err)
	require.True(t, now.Enabled)
}
