package subscribers

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/opevents"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// A fact f goes to its own tenant and to the operators' tenants, to each only if
// one of its webhooks asks for the type, whose name has two parts. Other facts are not recorded at all. The
// webhook that the fact is about does not count. Some facts are mailed too, if the
// tenant has addresses for that.
const (
	listeners = `SELECT r.id, false AS mail FROM (SELECT f.tenant_id AS id UNION ` + tenancy.SelectOperators + `) AS r
	WHERE EXISTS (SELECT 1 FROM fanmail.webhooks AS w WHERE w.tenant_id = r.id AND w.deleted_at IS NULL AND w.enabled AND w.id <> f.webhook_id AND w.events && ARRAY[$1::text, split_part($1, '.', 1) || '.*', '*'])`
	recipients = `
CROSS JOIN LATERAL (` + listeners + `) AS t`
	recipientsAndMail = `
CROSS JOIN LATERAL (` + listeners + ` UNION ALL SELECT m.id, true FROM (` + tenancy.SelectAlerted + `) AS m WHERE m.id = f.tenant_id) AS t`
	aboutWebhook = `'tenant_id', 'ten_' || replace(f.tenant_id::text, '-', ''), 'webhook_id', 'wh_' || replace(f.webhook_id::text, '-', ''),
	'webhook_url', f.url, 'webhook_description', f.description`
)

// exhaustedFacts are deliveries that this transaction ended as failed: their
// finished_at is its now().
const exhaustedFacts = `
SELECT t.id, t.mail, $1, jsonb_build_object(` + aboutWebhook + `,
	'delivery_id', 'whd_' || replace(f.id::text, '-', ''), 'event_id', 'evt_' || replace(f.event_id::text, '-', ''),
	'event_type', f.event_type, 'message_id', coalesce(f.message_id, ''), 'attempts', f.attempts, 'last_status_code', f.last_status_code, 'last_error', f.last_error)
FROM (
	SELECT d.id, d.tenant_id, d.webhook_id, h.url, h.description, d.event_id, d.event_type, d.message_id, d.attempts, d.last_status_code, d.last_error
	FROM (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]) LIMIT cardinality($2)) AS o (id, created_at)
	JOIN fanmail.webhook_subscriber_deliveries AS d ON d.id = o.id AND d.created_at = o.created_at
	JOIN fanmail.webhooks AS h ON h.id = d.webhook_id
	WHERE d.status = 'failed' AND d.finished_at = now() AND d.kind <> 'test' AND NOT d.event_type = ANY ($4::text[])
	  AND ` + ofDay + `
) AS f` + recipients

// disabledFacts are those of the named webhooks that this transaction disabled.
const disabledFacts = `
SELECT t.id, t.mail, $1, jsonb_build_object(` + aboutWebhook + `, 'reason', f.disabled_reason)
FROM (SELECT id AS webhook_id, tenant_id, url, description, disabled_reason FROM fanmail.webhooks WHERE id = ANY ($2::uuid[]) AND NOT enabled AND auto_disabled_at = now()) AS f` + recipientsAndMail

// failingFacts are the named webhooks, with what each of them is failing by.
const failingFacts = `
SELECT t.id, t.mail, $1, jsonb_build_object(` + aboutWebhook + `, 'failing_since', to_char(f.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
	'last_status_code', f.code, 'last_error', f.error)
FROM (
	SELECT w.id AS webhook_id, w.tenant_id, w.url, w.description, n.since, n.code, n.error
	FROM unnest($2::uuid[], $3::timestamptz[], $4::integer[], $5::text[]) AS n (id, since, code, error) JOIN fanmail.webhooks AS w ON w.id = n.id
) AS f` + recipientsAndMail

// recoveredFacts are those of the named webhooks that were failing or were disabled
// automatically, and have delivered for the first time since.
const (
	withRecovered = `
WITH f AS (
	UPDATE fanmail.webhooks SET recovering = false WHERE id = ANY ($2::uuid[]) AND recovering RETURNING id AS webhook_id, tenant_id, url, description
)`
	recoveredFacts = `
SELECT t.id, t.mail, $1, jsonb_build_object(` + aboutWebhook + `) FROM f` + recipientsAndMail
)

// queueExhausted records those of the deliveries, all of one day, that this batch
// ends as failed.
func queueExhausted(b *pgx.Batch, d pg.Day, ids []events.DeliveryID, created []time.Time) {
	// An operational event that fails causes none itself: a dead receiver of them
	// would cause one after the other.
	opevents.QueueFacts(b, "", d.In(exhaustedFacts), events.DeliveryExhausted, ids, created, events.Operational())
}

// queueRecovered records the webhooks of this batch that have recovered.
func queueRecovered(b *pgx.Batch, delivered []events.WebhookID) {
	opevents.QueueFacts(b, withRecovered, recoveredFacts, events.WebhookRecovered, delivered)
}

// queueDisabled records those of the webhooks that this batch disables.
func queueDisabled(b *pgx.Batch, disabled []events.WebhookID) {
	opevents.QueueFacts(b, "", disabledFacts, events.WebhookDisabled, disabled)
}

// recordDisabled records that the transaction has disabled these webhooks.
func recordDisabled(ctx context.Context, tx pgx.Tx, ids []events.WebhookID) error {
	if len(ids) == 0 {
		return nil
	}
	return opevents.InsertFacts(ctx, tx, "", disabledFacts, events.WebhookDisabled, ids)
}

// recordFailing records that these webhooks are failing: since when, and the status
// code and the error of the last attempt.
func recordFailing(ctx context.Context, tx pgx.Tx, ids []events.WebhookID, since []time.Time, codes []int, texts []string) error {
	if len(ids) == 0 {
		return nil
	}
	return opevents.InsertFacts(ctx, tx, "", failingFacts, events.WebhookFailing, ids, since, codes, texts)
}
