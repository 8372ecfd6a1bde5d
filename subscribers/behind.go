package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

const (
	// LateCount is the most pending deliveries that [CountLate] counts of a webhook.
	LateCount = 10_000
	// lateWebhooks is the most webhooks that [FindLate] reads.
	lateWebhooks = 200
)

// Late is how far behind a webhook is.
type Late struct {
	WebhookID events.WebhookID
	TenantID  events.TenantID
	// Pending counts its pending deliveries, at most [LateCount]. More reports whether
	// there are more.
	Pending int
	More    bool
	// Oldest is the earliest time at which a delivery is or was due, in UTC; nil if none is pending.
	Oldest *time.Time
}

// Each half reads one of the two partial indexes on pending rows.
const countLate = `
SELECT w.id, w.tenant_id, p.n + s.n, least(p.due, s.due)
FROM fanmail.webhooks AS w
CROSS JOIN LATERAL (SELECT count(*) AS n, min(next_retry_at) AS due FROM (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.id AND status = 'pending' AND NOT strict ORDER BY next_retry_at LIMIT $2) AS rows) AS p
CROSS JOIN LATERAL (SELECT count(*) AS n, (array_agg(next_retry_at))[1] AS due FROM (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.id AND status = 'pending' AND strict ORDER BY seq, created_at LIMIT $2) AS rows) AS s
WHERE w.id = ANY($1::uuid[])`

// CountLate returns how far behind webhooks are, whosever they are, in no order. It reads at most
// [LateCount] deliveries of each.
func CountLate(ctx context.Context, db pg.DB, webhooks []events.WebhookID) ([]Late, error) {
	rows, err := db.Query(ctx, countLate, webhooks, LateCount+1)
	if err != nil {
		return nil, fmt.Errorf("count backlogs: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Late, err error) {
		err = row.Scan(&l.WebhookID, &l.TenantID, &l.Pending, &l.Oldest)
		if l.Oldest = utc(l.Oldest); l.Pending > LateCount {
			l.Pending, l.More = LateCount, true
		}
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("count backlogs: %w", err)
	}
	return list, nil
}

// A loose index scan: one descent for each webhook, in the order of their ids.
const findLate = `
WITH RECURSIVE found AS (
	(SELECT webhook_id, next_retry_at, 1 AS n FROM fanmail.webhook_subscriber_deliveries
	 WHERE status = 'pending' AND NOT strict ORDER BY webhook_id, next_retry_at LIMIT 1)
	UNION ALL
	SELECT n.webhook_id, n.next_retry_at, found.n + 1 FROM found CROSS JOIN LATERAL (
		SELECT webhook_id, next_retry_at FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'pending' AND NOT strict AND webhook_id > found.webhook_id ORDER BY webhook_id, next_retry_at LIMIT 1
	) AS n WHERE found.n < $1
)
SELECT webhook_id FROM found JOIN fanmail.webhooks AS w ON w.id = webhook_id AND w.kind <> 'pull'
WHERE next_retry_at <= now() ORDER BY next_retry_at LIMIT $2`

// FindLate returns up to limit webhooks with due deliveries, none of [KindPull], those first whose deliveries wait longest,
// among the first 200 webhooks with pending ones. It is for when no dispatcher can be asked.
func FindLate(ctx context.Context, db pg.DB, limit int) ([]events.WebhookID, error) {
	rows, err := db.Query(ctx, findLate, lateWebhooks, limit)
	if err != nil {
		return nil, fmt.Errorf("find backlogs: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[events.WebhookID])
	if err != nil {
		return nil, fmt.Errorf("find backlogs: %w", err)
	}
	return list, nil
}

// Label is what people know a webhook by.
type Label struct{ URL, Description string }

// Labels returns the labels of webhooks that exist, whosever they are. It reads a row for each id.
func Labels(ctx context.Context, db pg.DB, webhooks []events.WebhookID) (map[events.WebhookID]Label, error) {
	labels := make(map[events.WebhookID]Label, len(webhooks))
	if len(webhooks) == 0 {
		return labels, nil
	}
	rows, err := db.Query(ctx, `SELECT id, url, description FROM fanmail.webhooks WHERE id = ANY($1::uuid[])`, webhooks)
	if err != nil {
		return nil, fmt.Errorf("read webhooks' labels: %w", err)
	}
	var id events.WebhookID
	var l Label
	if _, err := pgx.ForEachRow(rows, []any{&id, &l.URL, &l.Description}, func() error { labels[id] = l; return nil }); err != nil {
		return nil, fmt.Errorf("read webhooks' labels: %w", err)
	}
	return labels, nil
}
