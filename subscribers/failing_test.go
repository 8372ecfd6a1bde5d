package subscribers_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// retried inserts a pending delivery of the webhook that was created minutesAgo, and whose attempts have failed.
func (s *tenantStore) retried(t *testing.T, w events.WebhookID, minutesAgo, attempts int, strict bool, kind string) {
	t.Helper()
	s.exec(t, `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, attempts, max_attempts, event_type, strict, kind,
			 last_error, last_status_code, last_attempt_at)
		SELECT gen_random_uuid(), now() - make_interval(mins => $3::int), $1, $2, gen_random_uuid(), now(), now() + interval '20 minutes', now() + interval '30 days', 1, $4::int, 8,
			'email.received', $5, $6, CASE WHEN $4::int > 0 THEN 'answered 503' END, CASE WHEN $4::int > 0 THEN 503 END, CASE WHEN $4::int > 0 THEN now() - interval '1 minute' END`,
		w, s.tenant, minutesAgo, attempts, strict, kind)
}

func (s *tenantStore) markFailing(t *testing.T) []subscribers.Failing {
	t.Helper()
	var list []subscribers.Failing
	require.NoError(t, pgx.BeginFunc(context.Background(), s.pool, func(tx pgx.Tx) error {
		var err error
		list, err = subscribers.MarkFailing(context.Background(), tx)
		return err
	}))
	return list
}

// TestAWebhookFailsIfNothingSucceedsForAnHour, and is found once until it has delivered.
func TestAWebhookFailsIfNothingSucceedsForAnHour(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	w := s.webhook(t)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days', last_delivered_at = now() - interval '2 hours' WHERE id = $1`, w.ID)
	require.Empty(t, s.markFailing(t), "an idle webhook")
	s.retried(t, w.ID, 59, 3, false, "live")
	require.Empty(t, s.markFailing(t), "not for an hour yet")
	s.retried(t, w.ID, 61, 4, false, "live")
	list := s.markFailing(t)
	require.Len(t, list, 1)
	require.Equal(t, w.ID, list[0].ID)
	require.Equal(t, s.tenant, list[0].TenantID)
	require.Equal(t, 503, list[0].StatusCode)
	require.Equal(t, "answered 503", list[0].Error)
	require.Empty(t, s.markFailing(t), "once")
	now, err := s.Get(context.Background(), s.tenant, w.ID)
	require.NoError(t, err)
	require.True(t, now.Enabled)

	_, err = subscribers.WriteOutcomes(context.Background(), s.pool, &subscribers.OutcomeBatch{Touch: []events.WebhookID{w.ID}})
	require.NoError(t, err)
	require.Empty(t, s.markFailing(t), "it has delivered, and one delivery that fails is not the webhook's fault")
	s.exec(t, `UPDATE fanmail.webhooks SET last_delivered_at = now() - interval '90 minutes' WHERE id = $1`, w.ID)
	require.Len(t, s.markFailing(t), 1, "again")
}

// TestWhatIsNoFailingWebhook has a case for each condition.
func TestWhatIsNoFailingWebhook(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	for name, c := range map[string]struct {
		minutes, attempts int
		strict            bool
		kind, set         string
		fails             bool
	}{
		"in strict order":          {61, 4, true, "live", "", true},
		"of a replay":              {61, 4, false, "replay", "", true},
		"of a test":                {61, 4, false, "test", "", false},
		"not attempted":            {61, 0, false, "live", "", false},
		"disabled":                 {61, 4, false, "live", "enabled = false", false},
		"paused":                   {61, 4, false, "live", "paused_at = now()", false},
		"resumed a moment ago":     {61, 4, false, "live", "enabled_at = now() - interval '59 minutes'", false},
		"resumed over an hour ago": {180, 4, false, "live", "enabled_at = now() - interval '61 minutes'", true},
		"delivered since":          {61, 4, false, "live", "last_delivered_at = now() - interval '5 minutes'", false},
		"began before a success":   {180, 4, false, "live", "last_delivered_at = now() - interval '2 hours'", false},
		"deleted":                  {61, 4, false, "live", "deleted_at = now()", false},
		"told, and not well since": {61, 4, false, "live", "recovering = true", false},
	} {
		w := s.webhook(t)
		s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days' WHERE id = $1`, w.ID)
		if c.set != "" {
			s.exec(t, `UPDATE fanmail.webhooks SET `+c.set+` WHERE id = $1`, w.ID)
		}
		s.retried(t, w.ID, c.minutes, c.attempts, c.strict, c.kind)
		found := false
		for _, f := range s.markFailing(t) {
			found = found || f.ID == w.ID
		}
		require.Equal(t, c.fails, found, name)
		s.exec(t, `UPDATE fanmail.webhooks SET deleted_at = now() WHERE id = $1`, w.ID)
	}
	// Deliveries whose few attempts are used up count too, for a day.
	w := s.webhook(t)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days' WHERE id = $1`, w.ID)
	s.failed(t, w.ID, 1, 25)
	s.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET created_at = now() - interval '61 minutes' WHERE webhook_id = $1`, w.ID)
	require.Empty(t, s.markFailing(t), "old news")
	s.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET finished_at = now(), last_attempt_at = now() WHERE webhook_id = $1`, w.ID)
	require.Len(t, s.markFailing(t), 1)
}
