package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// A webhook is disabled automatically if at least DisableFailures deliveries failed
// within DisableWindow and none succeeded.
const (
	// DisableFailures is a number of deliveries.
	DisableFailures = 10
	// DisableWindow ends at the time of the check.
	DisableWindow = 72 * time.Hour
)

// Disabled is a webhook that was just disabled.
type Disabled struct {
	ID       events.WebhookID
	TenantID events.TenantID
	URL      string
	// Reason is one English sentence: the webhook's disabled_reason.
	Reason string
	// At is the webhook's auto_disabled_at, in UTC.
	At time.Time
}

// This walks the index of failures from webhook to webhook, one lookup each. It
// reads at most 1,000 failures of a webhook, so the cost does not grow with the
// history.
//
// A delivery counts if an attempt ended it: then its last attempt and its end have
// the same time. Expired deliveries and those whose event is gone do not count.
// Neither do attempts that we refused or aborted ourselves.
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
	WHERE w.enabled AND w.kind <> 'pull' AND w.paused_at IS NULL AND w.deleted_at IS NULL AND f.failures >= $2
	  AND (w.last_delivered_at IS NULL OR w.last_delivered_at <= now() - make_interval(secs => $1))
)
UPDATE fanmail.webhooks AS w SET enabled = false, auto_disabled_at = now(), disabled_reason = $3
WHERE w.id = ANY (ARRAY(SELECT id FROM dead)) AND w.enabled AND w.paused_at IS NULL AND w.deleted_at IS NULL
  AND (w.last_delivered_at IS NULL OR w.last_delivered_at <= now() - make_interval(secs => $1))
RETURNING w.id, w.tenant_id, w.url, w.disabled_reason, w.auto_disabled_at`

// DisableFailing disables, in the caller's transaction, every enabled webhook with
// at least [DisableFailures] deliveries that failed within [DisableWindow] and none
// that succeeded. It returns the webhooks that it disabled. The time of a failure
// is when the delivery ended.
//
// A paused webhook is left alone: it would miss the events that are to wait for it. So is
// one of [KindPull]: no endpoint needs to be spared.
// Failures from before the webhook was last enabled or resumed do not count. Neither do tests,
// replays, and failures that Fanmail caused. A success of any kind, also of a test,
// shows that the endpoint works.
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
