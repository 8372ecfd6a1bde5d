package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// When a webhook is disabled automatically (the seed's AutoDisableWorker): at
// least DisableFailures deliveries failed within DisableWindow, and none
// succeeded.
const (
	DisableFailures = 10
	DisableWindow   = 72 * time.Hour
)

// Disabled is a webhook that was just disabled.
type Disabled struct {
	ID       events.WebhookID
	TenantID events.TenantID
	URL      string
	// Reason is the webhook's disabled_reason.
	Reason string
	// At is the webhook's auto_disabled_at.
	At time.Time
}

// From one webhook with failures to the next, one descent each; of a webhook's
// failures the newest are looked at until enough count, at most so many, so
// that neither the history nor a flood of one webhook makes this slow.
//
// A delivery counts if an attempt of its own ended it, which is when the two
// times are the same: what expired, or whose event had gone, failed by our
// doing. So did what we refused to send, which its last attempt's reason
// tells.
const disableFailing = `
WITH RECURSIVE failing AS (
	(SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
	 WHERE status = 'failed' AND kind = 'live' ORDER BY webhook_id, finished_at DESC LIMIT 1)
	UNION ALL
	SELECT n.webhook_id FROM failing CROSS JOIN LATERAL (
		SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'failed' AND kind = 'live' AND webhook_id > failing.webhook_id ORDER BY webhook_id, finished_at DESC LIMIT 1
	) AS n
), dead AS MATERIALIZED (
	SELECT w.id FROM failing JOIN fanmail.webhooks AS w ON w.id = failing.webhook_id
	CROSS JOIN LATERAL (
		SELECT count(*) AS failures FROM (
			SELECT 1 FROM (
				SELECT id, created_at, attempts, last_attempt_at, finished_at FROM fanmail.webhook_subscriber_deliveries
				WHERE webhook_id = w.id AND status = 'failed' AND kind = 'live'
				  AND finished_at > greatest(w.enabled_at, now() - make_interval(secs => $1))
				ORDER BY finished_at DESC LIMIT 1000
			) AS d
			WHERE d.finished_at = d.last_attempt_at AND NOT EXISTS (
				SELECT 1 FROM fanmail.webhook_delivery_attempts AS a
				WHERE a.delivery_id = d.id AND a.created_at = d.created_at AND a.attempt = d.attempts
				  AND a.reason IN ('blocked', 'request', 'stopped'))
			LIMIT $2
		) AS counted
	) AS f
	WHERE w.enabled AND w.deleted_at IS NULL AND f.failures >= $2
	  AND (w.last_delivered_at IS NULL OR w.last_delivered_at <= now() - make_interval(secs => $1))
)
UPDATE fanmail.webhooks AS w SET enabled = false, auto_disabled_at = now(), disabled_reason = $3
WHERE w.id = ANY (ARRAY(SELECT id FROM dead)) AND w.enabled AND w.deleted_at IS NULL
  AND (w.last_delivered_at IS NULL OR w.last_delivered_at <= now() - make_interval(secs => $1))
RETURNING w.id, w.tenant_id, w.url, w.disabled_reason, w.auto_disabled_at`

// DisableFailing disables, in the caller's transaction, every webhook of which
// at least [DisableFailures] deliveries failed within [DisableWindow], by when
// they ended, and none succeeded; it gives those that it disabled. Failures
// from before the webhook was last enabled don't count, nor do tests, replays,
// and failures of our own making. A success of any kind, a test's too, shows
// that the endpoint is there and holds the disabling off.
func DisableFailing(ctx context.Context, tx pgx.Tx) ([]Disabled, error) {
	rows, err := tx.Query(ctx, disableFailing, DisableWindow.Seconds(), DisableFailures,
		fmt.Sprintf("at least %d deliveries failed and none succeeded within %d hours", DisableFailures, int(DisableWindow.Hours())))
	if err != nil {
		return nil, fmt.Errorf("disable failing webhooks: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Disabled, error) {
		var d Disabled
		err := row.Scan(&d.ID, &d.TenantID, &d.URL, &d.Reason, &d.At)
		d.At = d.At.UTC()
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("disable failing webhooks: %w", err)
	}
	ids := make([]events.WebhookID, len(list))
	for i, d := range list {
		ids[i] = d.ID
	}
	return list, recordDisabled(ctx, tx, ids)
}
