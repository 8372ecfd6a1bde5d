package subscribers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

// ExpirePending is the name of the rule that ends pending deliveries past their
// retention. Its count is the number of deliveries that failed as "expired".
const ExpirePending = "expire pending deliveries"

// ExpireOfTenants is the same for tenants that keep deliveries for a shorter time.
const ExpireOfTenants = "expire pending deliveries of tenants"

const expirePending = `
UPDATE fanmail.webhook_subscriber_deliveries AS d
SET status = 'failed', last_error = 'expired', finished_at = now(), next_retry_at = NULL
FROM (SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries
      WHERE status = 'pending' AND created_at < now() - make_interval(secs => $1) AND NOT ` + held + ` LIMIT 5000 FOR UPDATE SKIP LOCKED) AS old
WHERE d.id = old.id AND d.created_at = old.created_at`

// oldOfTenants is a query for the oldest deliveries of the tenants in $1 that are past the seconds in $2, up to 500 of
// each webhook. What is older was deleted before, so that it reads little else.
const oldOfTenants = `
SELECT d.id, d.created_at FROM unnest($1::uuid[], $2::float8[]) AS t (tenant_id, keep) CROSS JOIN LATERAL (
	SELECT id FROM fanmail.webhooks WHERE tenant_id = t.tenant_id AND deleted_at IS NULL
	UNION ALL SELECT id FROM fanmail.webhooks WHERE tenant_id = t.tenant_id AND deleted_at IS NOT NULL
) AS w CROSS JOIN LATERAL (
	SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.id AND created_at < now() - make_interval(secs => t.keep) AND `

const oldest = ` ORDER BY created_at LIMIT 500) AS d LIMIT 1000`

const expireOfTenants = `
WITH old AS MATERIALIZED (` + oldOfTenants + `status = 'pending' AND NOT ` + held + oldest + `)
UPDATE fanmail.webhook_subscriber_deliveries AS d
SET status = 'failed', last_error = 'expired', finished_at = now(), next_retry_at = NULL
FROM old WHERE d.id = old.id AND d.created_at = old.created_at AND d.status = 'pending' AND NOT ` + heldOfD

const deleteOfTenants = `
WITH old AS MATERIALIZED (` + oldOfTenants + `status <> 'pending'` + oldest + `), gone AS (
	DELETE FROM fanmail.webhook_delivery_attempts AS a USING old WHERE a.delivery_id = old.id AND a.created_at = old.created_at
)
DELETE FROM fanmail.webhook_subscriber_deliveries AS d USING old WHERE d.id = old.id AND d.created_at = old.created_at AND d.status <> 'pending'`

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
// still pending at its end becomes failed with the error "expired". It can be
// read for one more day; then its partition is dropped. That of a tenant with a
// shorter time can be read until the next round, which deletes it with its attempts. A
// rotated secret is deleted after [RotationGrace].
func RetentionRules(p retention.Policy) []retention.Rule {
	keep := cmp.Or(p.Deliveries, Retention)
	deliveries := func(t retention.Tenant) time.Duration { return t.Deliveries }
	return []retention.Rule{
		ForgetRotated(),
		retention.Rows("delete the webhooks whose deliveries are gone", deleteWebhooks, Retention.Seconds()),
		retention.OfTenants("delete old deliveries of tenants", deleteOfTenants, p.Tenants, deliveries),
		retention.Rows(ExpirePending, expirePending, keep.Seconds()),
		retention.OfTenants(ExpireOfTenants, expireOfTenants, p.Tenants, deliveries),
		retention.Days("webhook_subscriber_deliveries", keep, hasPending),
		retention.Days("webhook_delivery_attempts", cmp.Or(p.Attempts, keep), nil),
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
