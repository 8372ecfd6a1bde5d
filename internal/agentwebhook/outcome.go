package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retry"
)

// A success counts even if the lease has passed to another deliverer. A final row does
// not change.
const recordDelivered = `
UPDATE fanmail.webhook_deliveries
SET status = 'delivered', attempts = attempts + 1, last_status_code = $3, last_error = NULL,
    last_attempt_at = now(), finished_at = now(), next_retry_at = NULL, leased = false
WHERE message_id = $1 AND created_at = $2 AND status = 'pending'
RETURNING status`

// A failure counts only if the row still has the attempts that it had at the claim. It
// is final if no attempts are left, or if the next one would be after expires_at.
const recordFailed = `
UPDATE fanmail.webhook_deliveries
SET attempts = $3::smallint, last_status_code = $4, last_error = $5, last_attempt_at = now(),
    status        = CASE WHEN o.final THEN 'failed' ELSE 'pending' END,
    finished_at   = CASE WHEN o.final THEN now() END,
    next_retry_at = CASE WHEN o.final THEN NULL ELSE o.next END, leased = false
FROM (SELECT d.message_id, d.created_at, n.next, d.attempts + 1 >= d.max_attempts OR n.next >= d.expires_at AS final
      FROM fanmail.webhook_deliveries AS d, (SELECT now() + make_interval(secs => $6) AS next) AS n
      WHERE d.message_id = $1 AND d.created_at = $2 FOR UPDATE OF d) AS o
WHERE webhook_deliveries.message_id = o.message_id AND webhook_deliveries.created_at = o.created_at
  AND status = 'pending' AND attempts = $3::smallint - 1
RETURNING status`

// record writes an attempt's result and returns the row's new status, or "" if the row
// was final or had another result meanwhile. It may be called again after an error.
func record(ctx context.Context, db pg.DB, c *claimed, r *attempt.Result) (status string, err error) {
	if r.Delivered {
		err = db.QueryRow(ctx, recordDelivered, c.id, c.createdAt, r.StatusCode).Scan(&status)
	} else {
		err = db.QueryRow(ctx, recordFailed, c.id, c.createdAt, c.attempts+1, r.StatusCode, r.Error,
			(*retry.Policy)(nil).Delay(c.attempts+1, retry.MaxAttempts, r.RetryAfter).Seconds()).Scan(&status)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("record an attempt of the delivery of message %s: %w", c.id, err)
	}
	return status, nil
}

// fail ends a delivery as failed without an attempt.
func fail(ctx context.Context, db pg.DB, c *claimed, reason string) error {
	_, err := db.Exec(ctx, `UPDATE fanmail.webhook_deliveries SET status = 'failed', last_error = $3, finished_at = now(), next_retry_at = NULL, leased = false
		WHERE message_id = $1 AND created_at = $2 AND status = 'pending'`, c.id, c.createdAt, reason)
	if err != nil {
		return fmt.Errorf("end the delivery of message %s: %w", c.id, err)
	}
	return nil
}

// release makes a claimed delivery due again after a delay, without counting an attempt.
// It changes nothing if the lease has passed to another deliverer.
func release(ctx context.Context, db pg.DB, c *claimed, after time.Duration) error {
	_, err := db.Exec(ctx, `UPDATE fanmail.webhook_deliveries SET next_retry_at = now() + make_interval(secs => $4), leased = false
		WHERE message_id = $1 AND created_at = $2 AND status = 'pending' AND next_retry_at = $3`, c.id, c.createdAt, c.lease, after.Seconds())
	if err != nil {
		return fmt.Errorf("release the delivery of message %s: %w", c.id, err)
	}
	return nil
}
