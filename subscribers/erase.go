package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// ReasonErased is the last_error of a replay's delivery whose event was erased.
const ReasonErased = "erased"

// Erased is what [EraseOfEvents] did.
type Erased struct {
	// Deliveries and Attempts count the deleted rows.
	Deliveries, Attempts int64
	// Blanked counts the deliveries of replays that stay without what they say of the event: a replay counts how its
	// deliveries ended.
	Blanked int64
	// Pending are those of both that were pending. An attempt that was in flight may still write a row of its own; see
	// [EraseAttempts].
	Pending []Ref
}

// A live delivery has the creation time of its event. The others have an index of their own.
const deliveriesOfEvents = `
SELECT d.id, d.created_at, d.pending FROM unnest($2::uuid[], $3::timestamptz[]) AS e (id, created_at) CROSS JOIN LATERAL (
	SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL
	UNION ALL SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NOT NULL
) AS w CROSS JOIN LATERAL (
	SELECT id, created_at, status = 'pending' AS pending FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = w.id AND created_at = e.created_at AND event_id = e.id
) AS d
UNION
SELECT d.id, d.created_at, d.pending FROM unnest($2::uuid[], $3::timestamptz[]) AS e (id, created_at) CROSS JOIN LATERAL (
	SELECT id, created_at, status = 'pending' AS pending FROM fanmail.webhook_subscriber_deliveries WHERE event_id = e.id AND kind <> 'live' AND tenant_id = $1
) AS d`

const eraseDeliveries = `
WITH found AS MATERIALIZED (` + deliveriesOfEvents + `), blanked AS (
	UPDATE fanmail.webhook_subscriber_deliveries AS d SET message_id = NULL, status = CASE WHEN status = 'pending' THEN 'failed' ELSE status END,
		last_error = CASE WHEN status = 'delivered' THEN NULL ELSE '` + ReasonErased + `' END, finished_at = coalesce(finished_at, now()), next_retry_at = NULL, leased = false
	FROM found WHERE d.id = found.id AND d.created_at = found.created_at AND d.kind = 'replay' RETURNING d.id, d.created_at, found.pending
), gone AS (
	DELETE FROM fanmail.webhook_subscriber_deliveries AS d USING found WHERE d.id = found.id AND d.created_at = found.created_at AND d.kind <> 'replay'
	RETURNING d.id, d.created_at, found.pending
)
SELECT id, created_at, pending, true FROM blanked UNION ALL SELECT id, created_at, pending, false FROM gone`

// EraseOfEvents deletes the deliveries of a tenant's events with their attempts. created are the events' times. No
// outbox row of the events may be left, or a fan-out inserts deliveries again.
func EraseOfEvents(ctx context.Context, tx pg.DB, tenant events.TenantID, ids []events.ID, created []time.Time) (Erased, error) {
	var out Erased
	rows, err := tx.Query(ctx, eraseDeliveries, tenant, ids, created)
	if err != nil {
		return out, fmt.Errorf("erase deliveries: %w", err)
	}
	var all []Ref
	var r Ref
	var pending, blanked bool
	if _, err := pgx.ForEachRow(rows, []any{&r.ID, &r.CreatedAt, &pending, &blanked}, func() error {
		if all = append(all, r); pending {
			out.Pending = append(out.Pending, r)
		}
		if blanked {
			out.Blanked++
		} else {
			out.Deliveries++
		}
		return nil
	}); err != nil {
		return out, fmt.Errorf("erase deliveries: %w", err)
	}
	out.Attempts, err = EraseAttempts(ctx, tx, all)
	return out, err
}

// EraseAttempts deletes the attempts of deliveries, and returns how many there were.
func EraseAttempts(ctx context.Context, tx pg.DB, of []Ref) (int64, error) {
	ids, created := make([]events.DeliveryID, len(of)), make([]time.Time, len(of))
	for i, r := range of {
		ids[i], created[i] = r.ID, r.CreatedAt
	}
	tag, err := tx.Exec(ctx, `DELETE FROM fanmail.webhook_delivery_attempts AS a USING unnest($1::uuid[], $2::timestamptz[]) AS d (id, created_at)
		WHERE a.delivery_id = d.id AND a.created_at = d.created_at`, ids, created)
	if err != nil {
		return 0, fmt.Errorf("erase attempts: %w", err)
	}
	return tag.RowsAffected(), nil
}

const hooksOfTenant = `(SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL UNION ALL SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NOT NULL)`

// The rest of the deliveries: those whose events are gone.
const eraseDeliveriesOfTenant = `
WITH old AS MATERIALIZED (
	SELECT d.id, d.created_at FROM ` + hooksOfTenant + ` AS w CROSS JOIN LATERAL (
		SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = w.id ORDER BY created_at LIMIT $2) AS d LIMIT $2
), gone AS (
	DELETE FROM fanmail.webhook_delivery_attempts AS a USING old WHERE a.delivery_id = old.id AND a.created_at = old.created_at
)
DELETE FROM fanmail.webhook_subscriber_deliveries AS d USING old WHERE d.id = old.id AND d.created_at = old.created_at`

const endWebhooks = `
UPDATE fanmail.webhooks SET deleted_at = now(), enabled = false, signing_secret = '', previous_secrets = '{}', previous_until = '{}', request_settings = NULL
WHERE id = ANY (ARRAY(SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL LIMIT $2))`

const eraseWebhooks = `
DELETE FROM fanmail.webhooks AS w USING (SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NOT NULL LIMIT $2) AS old WHERE w.id = old.id`

// TenantRows are what a tenant has in the tables of this package.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{
		// The dispatchers read webhooks that have changed, and forget one that is deleted. Its row goes later.
		{Table: "webhooks", Statement: endWebhooks, Uncounted: true},
		{Table: "webhook_subscriber_deliveries", Statement: eraseDeliveriesOfTenant},
		{Table: "webhooks", Statement: eraseWebhooks, Late: true},
	}
}
