package subscribers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// ImportedWebhook is a webhook of another system, with its id and its secrets.
type ImportedWebhook struct {
	Webhook // its SigningSecret is kept; Retry, Headers, Auth, CA and Ed25519 are not read
	// PreviousSecret signs too until PreviousUntil; "": there is none.
	PreviousSecret string
	PreviousUntil  time.Time
}

const importWebhook = `
INSERT INTO fanmail.webhooks AS w (id, tenant_id, url, description, events, filter_agent_ids, filter_conversation_ids, filter_labels,
	enabled, max_in_flight, signing_secret, previous_secrets, previous_until, created_at, last_delivered_at, auto_disabled_at, disabled_reason, envelope, envelope_until, filter_data)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, nullif($17, ''), nullif($18, ''), $19, nullif($20, ''))
ON CONFLICT (id) DO UPDATE SET url = excluded.url, description = excluded.description, events = excluded.events,
	filter_agent_ids = excluded.filter_agent_ids, filter_conversation_ids = excluded.filter_conversation_ids, filter_labels = excluded.filter_labels,
	filter_data = excluded.filter_data,
	enabled = excluded.enabled, auto_disabled_at = excluded.auto_disabled_at, disabled_reason = excluded.disabled_reason,
	enabled_at = CASE WHEN excluded.enabled AND NOT w.enabled THEN now() ELSE w.enabled_at END,
	signing_secret = excluded.signing_secret, previous_secrets = excluded.previous_secrets, previous_until = excluded.previous_until
	WHERE w.tenant_id = excluded.tenant_id AND w.deleted_at IS NULL`

// ImportWebhooks inserts webhooks of another system. One that exists gets the given URL, description, types, filters,
// secrets and state; its other settings stay, and so does one that was deleted. It checks no limits.
func (s *Store) ImportWebhooks(ctx context.Context, tx pgx.Tx, list []ImportedWebhook) error {
	if len(list) == 0 {
		return nil
	}
	if err := s.keys.Enroll(ctx, tx); err != nil {
		return err
	}
	b := &pgx.Batch{}
	for i := range list {
		w := &list[i]
		w.normalize()
		secret, err := s.keys.Seal(w.SigningSecret, secretPlace(columnSecret, w.ID))
		if err != nil {
			return err
		}
		previous, until := []string{}, []time.Time{}
		if w.PreviousSecret != "" {
			sealed, err := s.keys.Seal(w.PreviousSecret, secretPlace(columnPrevious, w.ID))
			if err != nil {
				return err
			}
			previous, until = append(previous, sealed), append(until, w.PreviousUntil)
		}
		b.Queue(importWebhook, w.ID, w.TenantID, w.URL, w.Description, w.Events, w.Filters.AgentIDs, w.Filters.ConversationIDs, w.Filters.Labels,
			w.Enabled, w.MaxInFlight, secret, previous, until, w.CreatedAt, w.LastDeliveredAt, w.AutoDisabledAt, w.DisabledReason, w.Envelope, w.EnvelopeUntil, string(w.Filters.Data))
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("import webhooks: %w", err)
	}
	return nil
}

// Restore is [Store.Create] for a webhook with the id that it has in another installation. made is false if the tenant has
// a webhook with this id, which stays as it is. An id that another tenant has, or that was deleted, is an
// [*events.FieldError].
func (s *Store) Restore(ctx context.Context, tenant events.TenantID, w Webhook) (restored Webhook, secret string, made bool, err error) {
	var owner events.TenantID
	var deleted bool
	err = s.db.QueryRow(ctx, `SELECT tenant_id, deleted_at IS NOT NULL FROM fanmail.webhooks WHERE id = $1`, w.ID).Scan(&owner, &deleted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		restored, secret, err = s.create(ctx, tenant, w)
		return restored, secret, err == nil, err
	case err != nil:
		return Webhook{}, "", false, fmt.Errorf("read a webhook: %w", err)
	case owner != tenant || deleted:
		return Webhook{}, "", false, &events.FieldError{Field: "id", Reason: "is the id of a webhook that was deleted here, or that another tenant has"}
	}
	restored, err = s.Get(ctx, tenant, w.ID)
	return restored, "", false, err
}

// ForeignWebhooks returns those of the webhooks that belong to other tenants than the given ones, in which tenants[i] is
// that of ids[i].
func ForeignWebhooks(ctx context.Context, db pg.DB, ids []events.WebhookID, tenants []events.TenantID) ([]events.WebhookID, error) {
	rows, err := db.Query(ctx, `SELECT o.id FROM unnest($1::uuid[], $2::uuid[]) AS o (id, tenant_id)
		JOIN fanmail.webhooks AS w ON w.id = o.id AND w.tenant_id <> o.tenant_id`, ids, tenants)
	if err != nil {
		return nil, fmt.Errorf("look for webhooks of other tenants: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[events.WebhookID])
	if err != nil {
		return nil, fmt.Errorf("look for webhooks of other tenants: %w", err)
	}
	return found, nil
}

// ImportedDelivery is a delivery of another system.
type ImportedDelivery struct {
	Ref
	WebhookID      events.WebhookID
	TenantID       events.TenantID
	EventID        events.ID
	EventCreatedAt time.Time
	EventType      events.Type
	MessageID      string
	Seq            int64           // the event's
	Kind           string          // "live", "test" or "replay"
	ReplayID       events.ReplayID // zero unless Kind is "replay"
	Status         string          // "pending", "delivered" or "failed"
	Attempts       int             // made there
	MaxAttempts    int
	LastError      string // "" for none
	LastStatusCode *int   // nil before the first attempt
	LastAttempt    *time.Time
	NextRetry      time.Time // of a pending one
}

const importDeliveries = `
INSERT INTO fanmail.webhook_subscriber_deliveries AS d (id, created_at, webhook_id, tenant_id, event_id, event_created_at, event_type, message_id, seq,
	kind, replay_id, status, attempts, max_attempts, last_error, last_status_code, last_attempt_at, next_retry_at, finished_at, expires_at, strict)
SELECT t.id, t.created_at, t.webhook_id, t.tenant_id, t.event_id, t.event_created_at, t.event_type, nullif(t.message_id, ''), t.seq,
	t.kind, t.replay_id, t.status, t.attempts, t.max_attempts, nullif(t.last_error, ''), t.last_status_code, t.last_attempt_at,
	CASE WHEN t.status = 'pending' THEN t.next_retry_at END, CASE WHEN t.status <> 'pending' THEN coalesce(t.last_attempt_at, t.created_at) END,
	t.created_at + make_interval(secs => $19), w.ordering = 'strict'
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::text[], $8::text[], $9::bigint[],
	$10::text[], $11::uuid[], $12::text[], $13::smallint[], $14::smallint[], $15::text[], $16::smallint[], $17::timestamptz[], $18::timestamptz[])
	AS t (id, created_at, webhook_id, tenant_id, event_id, event_created_at, event_type, message_id, seq,
	kind, replay_id, status, attempts, max_attempts, last_error, last_status_code, last_attempt_at, next_retry_at)
JOIN fanmail.webhooks AS w ON w.id = t.webhook_id AND w.tenant_id = t.tenant_id AND (t.status <> 'pending' OR w.deleted_at IS NULL)
ON CONFLICT (id, created_at) DO UPDATE SET status = excluded.status, attempts = excluded.attempts, last_error = excluded.last_error,
	last_status_code = excluded.last_status_code, last_attempt_at = excluded.last_attempt_at, next_retry_at = NULL, finished_at = excluded.finished_at
	WHERE d.status = 'pending' AND excluded.status <> 'pending' AND d.attempts <= excluded.attempts AND excluded.last_error IS DISTINCT FROM '` + TakenOver + `' AND NOT ` + heldOfD + `
RETURNING d.id`

// TakenOver is the error of deliveries that were ended there because they had been imported. They do not end here.
const TakenOver = "taken over by Fanmail"

// heldOfD is [held] of a row d.
const heldOfD = `(d.leased AND d.next_retry_at > clock_timestamp())`

// ImportDeliveries inserts deliveries of another system, and returns how many are new or have ended since. A row that
// exists stays as it is. One that is pending here, was attempted no more often than there, and that no dispatcher holds,
// ends as the given one has.
func ImportDeliveries(ctx context.Context, db pg.DB, list []ImportedDelivery) (changed int, err error) {
	if len(list) == 0 {
		return 0, nil
	}
	rows, err := db.Query(ctx, importDeliveries, importedColumns(list)...)
	if err != nil {
		return 0, fmt.Errorf("import deliveries: %w", err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[events.DeliveryID])
	if err != nil {
		return 0, fmt.Errorf("import deliveries: %w", err)
	}
	return len(got), nil
}

// importedColumns are the arguments of importDeliveries.
func importedColumns(list []ImportedDelivery) []any {
	n := len(list)
	ids, created, hooks, tenants := make([]events.DeliveryID, n), make([]time.Time, n), make([]events.WebhookID, n), make([]events.TenantID, n)
	evs, eventTimes, types, messages, seqs := make([]events.ID, n), make([]time.Time, n), make([]string, n), make([]string, n), make([]int64, n)
	kinds, replays, status := make([]string, n), make([]*events.ReplayID, n), make([]string, n)
	attempts, most, lastErrors, codes := make([]int16, n), make([]int16, n), make([]string, n), make([]*int16, n)
	last, next := make([]*time.Time, n), make([]time.Time, n)
	for i := range list {
		d := &list[i]
		ids[i], created[i], hooks[i], tenants[i] = d.ID, d.CreatedAt, d.WebhookID, d.TenantID
		evs[i], eventTimes[i], types[i], messages[i], seqs[i] = d.EventID, d.EventCreatedAt, string(d.EventType), d.MessageID, d.Seq
		kinds[i], status[i], lastErrors[i], last[i], next[i] = d.Kind, d.Status, d.LastError, d.LastAttempt, d.NextRetry
		attempts[i], most[i] = int16(d.Attempts), int16(d.MaxAttempts) //nolint:gosec // small
		if !d.ReplayID.IsZero() {
			replays[i] = &d.ReplayID
		}
		if d.LastStatusCode != nil {
			code := int16(*d.LastStatusCode) //nolint:gosec // an HTTP status
			codes[i] = &code
		}
	}
	return []any{ids, created, hooks, tenants, evs, eventTimes, types, messages, seqs, kinds, replays, status, attempts, most, lastErrors, codes, last, next, Retention.Seconds()}
}

// QueueFanOut adds to a batch the deliveries of an event to the webhooks that want it, due at once: for events that the
// broker can't carry. The registry must be up to date.
func QueueFanOut(b *pgx.Batch, r *Registry, e *events.Record, envelope []byte) int {
	var rows []NewDelivery
	for _, w := range r.Match(nil, e, envelope) {
		rows = append(rows, NewDelivery{
			Ref:       Ref{ID: events.DeriveDeliveryID(e.ID, w.ID, events.ReplayID{}, e.CreatedAt), CreatedAt: e.CreatedAt},
			WebhookID: w.ID, TenantID: e.TenantID, EventID: e.ID, EventType: e.Type, MessageID: e.MessageID, Seq: e.Seq,
			Strict: w.Strict, MaxAttempts: w.MaxAttempts, Due: !w.Strict,
		})
	}
	if len(rows) > 0 {
		QueueInsert(b, rows)
	}
	return len(rows)
}

// CountWebhooks returns how many of the webhooks exist, deleted ones included.
func CountWebhooks(ctx context.Context, db pg.DB, ids []events.WebhookID) (n int64, err error) {
	if err = db.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE id = ANY($1::uuid[])`, ids).Scan(&n); err != nil {
		return 0, fmt.Errorf("count webhooks: %w", err)
	}
	return n, nil
}

// CountStates returns how many of the deliveries exist, by status; each is found by its primary key.
func CountStates(ctx context.Context, db pg.DB, refs []Ref) (map[string]int64, error) {
	ids, created := make([]events.DeliveryID, len(refs)), make([]time.Time, len(refs))
	for i, r := range refs {
		ids[i], created[i] = r.ID, r.CreatedAt
	}
	rows, err := db.Query(ctx, `SELECT d.status, count(*) FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
		CROSS JOIN LATERAL (SELECT status FROM fanmail.webhook_subscriber_deliveries WHERE id = w.id AND created_at = w.created_at) AS d GROUP BY d.status`, ids, created)
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	counts := map[string]int64{}
	var status string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&status, &n}, func() error { counts[status] = n; return nil }); err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	return counts, nil
}
