package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retry"
)

// BulkRetry is the most deliveries that one call of [Store.RetryFailed] makes
// pending.
const BulkRetry = 1000

// A cancelled replay's delivery was ended on purpose, and nobody waits for a test.
var retryFailed = fmt.Sprintf(`
UPDATE fanmail.webhook_subscriber_deliveries AS d SET status = 'pending', finished_at = NULL, next_retry_at = now(), leased = false, max_attempts = d.attempts + failed.more
FROM (SELECT d.id, d.created_at, h.max_attempts AS more FROM unnest($3::uuid[], $4::timestamptz[]) AS w (id, created_at)
      JOIN fanmail.webhook_subscriber_deliveries AS d ON d.id = w.id AND d.created_at = w.created_at
      JOIN fanmail.webhooks AS h ON h.id = d.webhook_id
      WHERE d.tenant_id = $1 AND d.webhook_id = $2 AND d.status = 'failed' AND d.expires_at > now() AND d.kind <> 'test'
        AND NOT (d.kind = 'replay' AND d.last_error = $5)
        AND d.created_at >= $6 AND d.created_at <= $7 AND d.attempts <= %d - h.max_attempts
      ORDER BY d.id FOR UPDATE OF d SKIP LOCKED) AS failed
WHERE d.id = failed.id AND d.created_at = failed.created_at AND d.tenant_id = $1`, retry.Most)

// RetryFailed makes failed deliveries of a webhook pending again. They are due at
// once, each with as many more attempts as the webhook's policy has. Tests, expired deliveries, those
// of cancelled replays and those without room for more attempts (see [ErrAttempts]) stay as they are.
//
// It goes from the newest delivery to the oldest. One call reads at most [ListScan]
// rows and handles at most [BulkRetry] deliveries that match the filter; the
// filter's Status is ignored. It returns how many deliveries it made pending, and
// the place to continue from, which is zero at the end. A call is idempotent: what
// is pending is not changed again.
//
// It returns [ErrNotFound] if the tenant has no such webhook, and an
// [*events.FieldError] if the filter's Since is not before its Until, or for a status
// or a type that does not exist.
func (s *Store) RetryFailed(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, f DeliveryFilter, after Place) (int, Place, error) {
	if !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return 0, Place{}, &events.FieldError{Field: "since", Reason: "must lie before until"}
	}
	if err := f.check(); err != nil {
		return 0, Place{}, err
	}
	f.Status = "failed"
	list, next, err := s.ListDeliveries(ctx, tenant, webhook, f, after, BulkRetry)
	if err != nil || len(list) == 0 {
		return 0, next, err
	}
	if len(list) == BulkRetry {
		last := &list[BulkRetry-1]
		next = Place{CreatedAt: last.CreatedAt, ID: last.ID}
	}
	ids, created := make([]events.DeliveryID, len(list)), make([]time.Time, len(list))
	for i := range list {
		ids[i], created[i] = list[i].ID, list[i].CreatedAt
	}
	retried := 0
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// The list is newest first, so its two ends bound the partitions to read.
		tag, err := tx.Exec(ctx, retryFailed, tenant, webhook, ids, created, ReasonCancelled, created[len(created)-1], created[0])
		if err != nil {
			return fmt.Errorf("retry failed deliveries: %w", err)
		}
		retried = int(tag.RowsAffected())
		return nil
	})
	if err != nil {
		return 0, Place{}, err
	}
	return retried, next, nil
}
