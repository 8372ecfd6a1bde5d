package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// FailingAfter is how long a delivery has failed, and none succeeded, when its webhook
// counts as failing.
const FailingAfter = time.Hour

// Failing is a webhook that was just found to be failing.
type Failing struct {
	ID       events.WebhookID
	TenantID events.TenantID
	// Since is when the oldest delivery that fails began, in UTC.
	Since time.Time
	// StatusCode and Error are those of its last attempt; 0 if no answer came.
	StatusCode int
	Error      string
}

// This walks three partial indexes from webhook to webhook, one lookup each, so the
// cost grows with the number of webhooks that have a backlog or failures. Of each it
// reads at most 1,000 rows of a kind. The pending rows that are due last have been
// attempted most often, so they come first. In strict order the first row is the one
// that is attempted. A delivery that ended by itself, such as an expired one, is no
// failure of the endpoint.
const markFailing = `
WITH RECURSIVE waiting AS (
	(SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
	 WHERE status = 'pending' AND NOT strict ORDER BY webhook_id, next_retry_at LIMIT 1)
	UNION ALL
	SELECT n.webhook_id FROM waiting CROSS JOIN LATERAL (
		SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'pending' AND NOT strict AND webhook_id > waiting.webhook_id ORDER BY webhook_id, next_retry_at LIMIT 1
	) AS n
), held AS (
	(SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
	 WHERE status = 'pending' AND strict ORDER BY webhook_id, seq, created_at LIMIT 1)
	UNION ALL
	SELECT n.webhook_id FROM held CROSS JOIN LATERAL (
		SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'pending' AND strict AND webhook_id > held.webhook_id ORDER BY webhook_id, seq, created_at LIMIT 1
	) AS n
), ended AS (
	(SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
	 WHERE status = 'failed' AND kind = 'live' ORDER BY webhook_id, finished_at DESC LIMIT 1)
	UNION ALL
	SELECT n.webhook_id FROM ended CROSS JOIN LATERAL (
		SELECT webhook_id FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'failed' AND kind = 'live' AND webhook_id > ended.webhook_id ORDER BY webhook_id, finished_at DESC LIMIT 1
	) AS n
), failing AS MATERIALIZED (
	SELECT w.id, f.since, f.last_status_code, f.last_error
	FROM (SELECT webhook_id FROM waiting UNION SELECT webhook_id FROM held UNION SELECT webhook_id FROM ended) AS c
	JOIN fanmail.webhooks AS w ON w.id = c.webhook_id
	CROSS JOIN LATERAL (
		SELECT greatest(d.created_at, w.enabled_at) AS since, d.last_status_code, d.last_error FROM (
			(SELECT created_at, attempts, last_attempt_at, finished_at, last_status_code, last_error, kind FROM fanmail.webhook_subscriber_deliveries
			 WHERE webhook_id = w.id AND status = 'pending' AND NOT strict ORDER BY next_retry_at DESC LIMIT 1000)
			UNION ALL
			(SELECT created_at, attempts, last_attempt_at, finished_at, last_status_code, last_error, kind FROM fanmail.webhook_subscriber_deliveries
			 WHERE webhook_id = w.id AND status = 'pending' AND strict ORDER BY seq, created_at LIMIT 1)
			UNION ALL
			(SELECT created_at, attempts, last_attempt_at, finished_at, last_status_code, last_error, kind FROM fanmail.webhook_subscriber_deliveries
			 WHERE webhook_id = w.id AND status = 'failed' AND kind = 'live' AND finished_at > now() - interval '1 day'
			 ORDER BY finished_at DESC LIMIT 1000)
		) AS d
		WHERE d.attempts > 0 AND d.kind <> 'test' AND d.last_error IS NOT NULL AND d.last_attempt_at > w.enabled_at
		  AND (d.finished_at IS NULL OR d.finished_at = d.last_attempt_at)
		  AND (w.last_delivered_at IS NULL OR d.created_at > w.last_delivered_at)
		ORDER BY d.created_at LIMIT 1
	) AS f
	WHERE w.enabled AND w.paused_at IS NULL AND w.deleted_at IS NULL AND NOT w.recovering AND f.since <= now() - make_interval(secs => $1)
	  AND (w.last_delivered_at IS NULL OR w.last_delivered_at <= now() - make_interval(secs => $1))
)
UPDATE fanmail.webhooks AS w SET recovering = true
FROM (SELECT id, since, last_status_code, last_error FROM failing) AS f
WHERE w.id = f.id AND w.enabled AND w.paused_at IS NULL AND w.deleted_at IS NULL AND NOT w.recovering
  AND (w.last_delivered_at IS NULL OR w.last_delivered_at <= now() - make_interval(secs => $1))
RETURNING w.id, w.tenant_id, f.since, coalesce(f.last_status_code, 0), f.last_error`

// MarkFailing finds, in the caller's transaction, the enabled webhooks of which a
// delivery has failed for [FailingAfter] and none has succeeded since it began. It
// returns each once, until the webhook has delivered again: then there is an
// operational event that it has recovered.
//
// Tests do not count. Neither does the time before a webhook was last enabled or
// resumed.
func MarkFailing(ctx context.Context, tx pgx.Tx) ([]Failing, error) {
	rows, err := tx.Query(ctx, markFailing, FailingAfter.Seconds())
	if err != nil {
		return nil, fmt.Errorf("find failing webhooks: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Failing, error) {
		var f Failing
		err := row.Scan(&f.ID, &f.TenantID, &f.Since, &f.StatusCode, &f.Error)
		f.Since = f.Since.UTC()
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("find failing webhooks: %w", err)
	}
	ids, since := make([]events.WebhookID, len(list)), make([]time.Time, len(list))
	codes, texts := make([]int, len(list)), make([]string, len(list))
	for i, f := range list {
		ids[i], since[i], codes[i], texts[i] = f.ID, f.Since, f.StatusCode, f.Error
	}
	return list, recordFailing(ctx, tx, ids, since, codes, texts)
}
