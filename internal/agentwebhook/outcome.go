package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// Outcome is how an attempt ended.
type Outcome struct {
	Delivered bool
	// StatusCode is 0 where no answer came.
	StatusCode int
	// Error is one line; "" where Delivered.
	Error string
	// Reason is the error's class, one of package outbound's.
	Reason string
	// RetryAfter is what the endpoint asked for; 0 for nothing.
	RetryAfter time.Duration
	Duration   time.Duration
}

// schedule is the time before each attempt, from the one before it: attempts
// at 0, +1 m, +5 m, +15 m, +1 h, +4 h, +8 h and +16 h, as the subscribers'.
// The last is some 29 h after the first, within [DeliveryTTL].
var schedule = [MaxAttempts]time.Duration{
	0, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour,
}

const jitter = 0.10

// retryDelay is the time to the next attempt, from the number of attempts
// made. A longer wait that the endpoint asked for is heeded.
func retryDelay(attempts int, asked time.Duration) time.Duration {
	d := schedule[min(max(attempts, 1), len(schedule)-1)]
	d += time.Duration(float64(d) * jitter * (2*rand.Float64() - 1))
	return max(d, asked)
}

// A success counts whenever it comes; a final row stays.
const recordDelivered = `
UPDATE fanmail.webhook_deliveries
SET status = 'delivered', attempts = attempts + 1, last_status_code = $3, last_error = NULL,
    last_attempt_at = now(), finished_at = now(), next_retry_at = NULL
WHERE message_id = $1 AND created_at = $2 AND status = 'pending'
RETURNING status`

// A failure counts only for the attempt that it belongs to. It is the last one
// where the attempts are used up, or where the next would come too late.
const recordFailed = `
UPDATE fanmail.webhook_deliveries
SET attempts = $3::smallint, last_status_code = $4, last_error = $5, last_attempt_at = now(),
    status        = CASE WHEN o.final THEN 'failed' ELSE 'pending' END,
    finished_at   = CASE WHEN o.final THEN now() END,
    next_retry_at = CASE WHEN o.final THEN NULL ELSE o.next END
FROM (SELECT d.message_id, d.created_at, n.next, d.attempts + 1 >= d.max_attempts OR n.next >= d.expires_at AS final
      FROM fanmail.webhook_deliveries AS d, (SELECT now() + make_interval(secs => $6) AS next) AS n
      WHERE d.message_id = $1 AND d.created_at = $2 FOR UPDATE OF d) AS o
WHERE webhook_deliveries.message_id = o.message_id AND webhook_deliveries.created_at = o.created_at
  AND status = 'pending' AND attempts = $3::smallint - 1
RETURNING status`

// record writes an attempt's outcome and gives the row's status, "" where the
// row had moved on. It may be called again after an error.
func record(ctx context.Context, db DB, c *claimed, o *Outcome) (status string, err error) {
	if o.Delivered {
		err = db.QueryRow(ctx, recordDelivered, c.id, c.createdAt, o.StatusCode).Scan(&status)
	} else {
		err = db.QueryRow(ctx, recordFailed, c.id, c.createdAt, c.attempts+1, o.StatusCode, o.Error,
			retryDelay(c.attempts+1, o.RetryAfter).Seconds()).Scan(&status)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("record an attempt: %w", err)
	}
	return status, nil
}

// end makes a delivery failed without an attempt.
func end(ctx context.Context, db DB, c *claimed, why string) error {
	_, err := db.Exec(ctx, `UPDATE fanmail.webhook_deliveries SET status = 'failed', last_error = $3, finished_at = now(), next_retry_at = NULL
		WHERE message_id = $1 AND created_at = $2 AND status = 'pending'`, c.id, c.createdAt, why)
	if err != nil {
		return fmt.Errorf("end a delivery: %w", err)
	}
	return nil
}

// giveBack makes a claimed delivery due again, after a while, its attempts as
// they were. One whose lease has passed to another stays as it is.
func giveBack(ctx context.Context, db DB, c *claimed, after time.Duration) error {
	_, err := db.Exec(ctx, `UPDATE fanmail.webhook_deliveries SET next_retry_at = now() + make_interval(secs => $4)
		WHERE message_id = $1 AND created_at = $2 AND status = 'pending' AND next_retry_at = $3`, c.id, c.createdAt, c.lease, after.Seconds())
	if err != nil {
		return fmt.Errorf("give a delivery back: %w", err)
	}
	return nil
}
