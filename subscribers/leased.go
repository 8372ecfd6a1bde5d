package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
)

// Each webhook's rows without an attempt that are hidden until a time in a range, by the
// partial index.
const leasedRows = `
SELECT d.id, d.created_at, w.webhook_id, d.next_retry_at
FROM unnest($1::uuid[]) AS w (webhook_id)
CROSS JOIN LATERAL (
	SELECT id, created_at, next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.webhook_id AND status = 'pending' AND NOT strict AND leased AND attempts = 0
	  AND next_retry_at > now() AND next_retry_at >= $2 AND next_retry_at < $3
	ORDER BY next_retry_at LIMIT $4
) AS d`

// Each webhook's rows that are leased until a time in a range, by the partial index.
const heldRows = `
SELECT d.id, d.created_at, w.webhook_id, d.next_retry_at
FROM unnest($1::uuid[]) AS w (webhook_id)
CROSS JOIN LATERAL (
	SELECT id, created_at, next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.webhook_id AND status = 'pending' AND NOT strict AND leased
	  AND next_retry_at > now() + make_interval(secs => $5) AND next_retry_at >= $2 AND next_retry_at < $3
	ORDER BY next_retry_at LIMIT $4
) AS d`

// FindHeld is [FindLeased] for rows that may have had attempts, and only for leases of
// [LeaseDuration]: a lease of [FirstLease] would end sooner. The leases end before a time,
// in Unix microseconds.
func FindHeld(ctx context.Context, pool *pgxpool.Pool, webhooks []events.WebhookID, before int64, limit int) ([]Leased, error) {
	return findLeased(ctx, pool, heldRows, webhooks, time.UnixMicro(0), time.UnixMicro(before), limit, (FirstLease + time.Second).Seconds())
}

// FindLeased returns rows of the webhooks that no attempt was made of and whose lease
// has not ended. The leases end at from or later and before to, in Unix microseconds. It returns
// at most limit rows of each webhook, those first whose leases end first, and none of webhooks in
// strict order. Of a row, only its reference, webhook and lease are set.
func FindLeased(ctx context.Context, pool *pgxpool.Pool, webhooks []events.WebhookID, from, to int64, limit int) ([]Leased, error) {
	return findLeased(ctx, pool, leasedRows, webhooks, time.UnixMicro(from), time.UnixMicro(to), limit)
}

func findLeased(ctx context.Context, pool *pgxpool.Pool, statement string, args ...any) ([]Leased, error) {
	rows, err := pool.Query(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("find leased deliveries: %w", err)
	}
	var found []Leased
	var l Leased
	var lease time.Time
	_, err = pgx.ForEachRow(rows, []any{&l.ID, &l.CreatedAt, &l.WebhookID, &lease}, func() error {
		l.Lease = lease.UnixMicro()
		found = append(found, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find leased deliveries: %w", err)
	}
	return found, nil
}
