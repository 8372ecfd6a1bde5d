package subscribers

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

// ExpirePending is the name of the rule that ends pending deliveries past their
// retention. Its count is the number of deliveries that failed as "expired".
const ExpirePending = "expire pending deliveries"

const expirePending = `
UPDATE fanmail.webhook_subscriber_deliveries AS d
SET status = 'failed', last_error = 'expired', finished_at = now(), next_retry_at = NULL
FROM (SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries
      WHERE status = 'pending' AND created_at < now() - make_interval(secs => $1) AND NOT ` + held + ` LIMIT 5000 FOR UPDATE SKIP LOCKED) AS old
WHERE d.id = old.id AND d.created_at = old.created_at`

//nolint:gosec // the names of columns, no secret
const forgetSecrets = `
UPDATE fanmail.webhooks SET
	previous_secrets = ARRAY(SELECT secret FROM unnest(previous_secrets, previous_until) WITH ORDINALITY AS p (secret, until, n) WHERE until > now() ORDER BY n),
	previous_until = ARRAY(SELECT until FROM unnest(previous_until) WITH ORDINALITY AS p (until, n) WHERE until > now() ORDER BY n)
WHERE now() >= ANY (previous_until)`

// A deleted webhook's row stays while it has deliveries, which can be read.
const deleteWebhooks = `
DELETE FROM fanmail.webhooks WHERE id = ANY (ARRAY(
	SELECT id FROM fanmail.webhooks AS w WHERE deleted_at < now() - make_interval(secs => $1)
		AND NOT EXISTS (SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d WHERE d.webhook_id = w.id) LIMIT 1000))`

// RetentionRules returns the rules for the tables of this package. A delivery that is
// still pending after [Retention] becomes failed with the error "expired". It can be
// read for one more day; then its partition is dropped. A rotated secret is deleted
// after [RotationGrace].
func RetentionRules() []retention.Rule {
	return []retention.Rule{
		ForgetRotated(),
		retention.Rows("delete the webhooks whose deliveries are gone", deleteWebhooks, Retention.Seconds()),
		retention.Rows(ExpirePending, expirePending, Retention.Seconds()),
		retention.Days("webhook_subscriber_deliveries", Retention, hasPending),
		retention.Days("webhook_delivery_attempts", Retention, nil),
	}
}

// ForgetRotated deletes the previous signing secrets whose time is over.
func ForgetRotated() retention.Rule { return retention.Rows("forget rotated secrets", forgetSecrets) }

// hasPending keeps a partition with pending rows; the next round expires them.
func hasPending(ctx context.Context, db pg.DB, partition string) (pending bool, err error) {
	err = db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+pgx.Identifier{"fanmail", partition}.Sanitize()+` WHERE status = 'pending')`).Scan(&pending)
	if err != nil {
		return true, fmt.Errorf("look for pending deliveries in %s: %w", partition, err)
	}
	return pending, nil
}
