package subscribers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// OperationalEvent is a fact about a webhook or a delivery that is to become an
// operational event of a tenant.
type OperationalEvent struct {
	TenantID events.TenantID
	Type     events.Type
	Data     json.RawMessage // the event's; its shape is a type of events/operational
}

// A fact f is told to its tenant and to the operators', to each only where a
// webhook of theirs asks for it: nobody else's facts are written at all. The
// webhook that the fact is about is not asked.
const (
	toldTo = `
CROSS JOIN LATERAL (SELECT f.tenant_id AS id UNION SELECT id FROM fanmail.tenants WHERE operator) AS t
WHERE EXISTS (SELECT 1 FROM fanmail.webhooks AS w WHERE w.tenant_id = t.id AND w.deleted_at IS NULL AND w.enabled AND w.id <> f.webhook_id AND $1 = ANY (w.events))`
	aboutWebhook = `'tenant_id', 'ten_' || replace(f.tenant_id::text, '-', ''), 'webhook_id', 'wh_' || replace(f.webhook_id::text, '-', ''), 'webhook_url', f.url`
)

// Deliveries that this transaction ended as failed: finished_at is its now().
const tellExhausted = `
INSERT INTO fanmail.operational_events (tenant_id, type, data)
SELECT t.id, $1, jsonb_build_object(` + aboutWebhook + `,
	'delivery_id', 'whd_' || replace(f.id::text, '-', ''), 'event_id', 'evt_' || replace(f.event_id::text, '-', ''),
	'event_type', f.event_type, 'message_id', coalesce(f.message_id, ''), 'attempts', f.attempts, 'last_status_code', f.last_status_code, 'last_error', f.last_error)
FROM (
	SELECT d.id, d.tenant_id, d.webhook_id, h.url, d.event_id, d.event_type, d.message_id, d.attempts, d.last_status_code, d.last_error
	FROM (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]) LIMIT cardinality($2)) AS o (id, created_at)
	JOIN fanmail.webhook_subscriber_deliveries AS d ON d.id = o.id AND d.created_at = o.created_at
	JOIN fanmail.webhooks AS h ON h.id = d.webhook_id
	WHERE d.status = 'failed' AND d.finished_at = now() AND d.kind <> 'test' AND NOT d.event_type = ANY ($4::text[])
	  AND ` + ofDay + `
) AS f` + toldTo

// Of the webhooks named, those that this transaction disabled.
const tellDisabled = `
INSERT INTO fanmail.operational_events (tenant_id, type, data)
SELECT t.id, $1, jsonb_build_object(` + aboutWebhook + `, 'reason', f.disabled_reason)
FROM (SELECT id AS webhook_id, tenant_id, url, disabled_reason FROM fanmail.webhooks WHERE id = ANY ($2::uuid[]) AND NOT enabled AND auto_disabled_at = now()) AS f` + toldTo

// Of the webhooks named, those that were disabled automatically and have
// delivered for the first time since.
const tellRecovered = `
WITH f AS (
	UPDATE fanmail.webhooks SET recovering = false WHERE id = ANY ($2::uuid[]) AND recovering RETURNING id AS webhook_id, tenant_id, url
)
INSERT INTO fanmail.operational_events (tenant_id, type, data)
SELECT t.id, $1, jsonb_build_object(` + aboutWebhook + `) FROM f` + toldTo

// queueExhausted tells of the outcomes that may have ended a delivery. No
// delivery has fewer attempts than [MaxAttempts], so that most failures, and
// all successes, cost nothing here.
func queueExhausted(b *pgx.Batch, outcomes []Outcome) {
	ended := pick(outcomes, func(o *Outcome) bool {
		return !o.Delivered && !o.Unsent && (o.Final || o.Attempt >= MaxAttempts)
	})
	eachDay(ended, (*Outcome).created, func(d pg.Day, outcomes []*Outcome) {
		c := columnsOf(outcomes)
		// What is said of operational events would be said of itself.
		b.Queue(d.In(tellExhausted), events.DeliveryExhausted, c.ids, c.created, events.Operational())
	})
}

// tellOfDisabling notes that the transaction has disabled these webhooks.
func tellOfDisabling(ctx context.Context, tx pgx.Tx, ids []events.WebhookID) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, tellDisabled, events.WebhookDisabled, ids); err != nil {
		return fmt.Errorf("tell of disabled webhooks: %w", err)
	}
	return nil
}

// TakeOperationalEvents takes up to limit notices, oldest first. They are gone when tx
// commits; two callers never get the same one.
func TakeOperationalEvents(ctx context.Context, tx pgx.Tx, limit int) ([]OperationalEvent, error) {
	rows, err := tx.Query(ctx, `DELETE FROM fanmail.operational_events
		WHERE id = ANY (ARRAY(SELECT id FROM fanmail.operational_events ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
		RETURNING id, tenant_id, type, data`, limit)
	if err != nil {
		return nil, fmt.Errorf("take notices: %w", err)
	}
	type numbered struct {
		id int64
		OperationalEvent
	}
	taken, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n numbered, err error) {
		err = row.Scan(&n.id, &n.TenantID, &n.Type, &n.Data)
		return n, err
	})
	if err != nil {
		return nil, fmt.Errorf("take notices: %w", err)
	}
	slices.SortFunc(taken, func(a, b numbered) int { return cmp.Compare(a.id, b.id) })
	out := make([]OperationalEvent, len(taken))
	for i, n := range taken {
		out[i] = n.OperationalEvent
	}
	return out, nil
}
