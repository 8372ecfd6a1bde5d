package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// Patch is a change of a webhook; a nil field stays as it is.
type Patch struct {
	URL         *string
	Description *string
	Events      *[]events.Type
	Filters     *Filters // as a whole
	Enabled     *bool
	MaxInFlight *int
	RateLimit   *int // 0: none
	Ordering    *Ordering
}

func (p *Patch) apply(w *Webhook) {
	set(&w.URL, p.URL)
	set(&w.Description, p.Description)
	set(&w.Events, p.Events)
	set(&w.Filters, p.Filters)
	set(&w.Enabled, p.Enabled)
	set(&w.MaxInFlight, p.MaxInFlight)
	set(&w.RateLimit, p.RateLimit)
	set(&w.Ordering, p.Ordering)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// validate checks the fields that the patch sets and no others: what was
// accepted under older limits must not keep anybody from disabling a webhook.
func (p *Patch) validate(l Limits) error {
	w := Webhook{URL: "https://example.com/", Events: []events.Type{events.EmailReceived}, MaxInFlight: 1, Ordering: OrderingNone}
	p.apply(&w)
	return w.Validate(l)
}

// hurried bounds how many waiting deliveries an enabled webhook's change makes
// due at once, and ended how many a deletion ends; the dispatcher deals with
// the others when it meets them.
const hurried, ended = 1000, 5000

// Update changes a webhook and gives it as it is then. Enabling it makes
// deliveries that have waited due, and starts the count of failures anew. It
// returns [ErrNotFound], an [*events.FieldError], or [ErrCooldown] where the
// webhook was disabled automatically a moment ago.
func (s *Store) Update(ctx context.Context, tenant events.TenantID, id events.WebhookID, p Patch) (Webhook, error) {
	if err := p.validate(s.limits); err != nil {
		return Webhook{}, err
	}
	var w Webhook
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		was, err := s.In(tx).get(ctx, tenant, id, " FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		w = was
		p.apply(&w)
		w.normalize()
		if p.Filters != nil {
			if err := checkAgents(ctx, tx, tenant, w.Filters.AgentIDs); err != nil {
				return err
			}
		}
		if err := markStrict(ctx, tx, tenant, w.Ordering); err != nil {
			return err
		}
		enable := w.Enabled && !was.Enabled
		if enable && was.AutoDisabledAt != nil {
			var cooling bool
			// clock_timestamp: the transaction may have waited for the row.
			err := tx.QueryRow(ctx, `SELECT auto_disabled_at > clock_timestamp() - $3::interval FROM fanmail.webhooks WHERE tenant_id = $1 AND id = $2`,
				tenant, id, ReenableCooldown).Scan(&cooling)
			if err != nil {
				return fmt.Errorf("read the cool-down: %w", err)
			}
			if cooling {
				return ErrCooldown
			}
		}
		rows, err := tx.Query(ctx, `UPDATE fanmail.webhooks SET url = $3, description = $4, events = $5, filter_agent_ids = $6,
				filter_conversation_ids = $7, filter_labels = $8, enabled = $9, max_in_flight = $10, rate_limit = nullif($11, 0), ordering = $12,
				enabled_at = CASE WHEN $13 THEN now() ELSE enabled_at END,
				auto_disabled_at = CASE WHEN $13 THEN NULL ELSE auto_disabled_at END,
				disabled_reason = CASE WHEN $13 THEN NULL ELSE disabled_reason END,
				recovering = recovering OR $13 AND auto_disabled_at IS NOT NULL
			WHERE tenant_id = $1 AND id = $2 RETURNING `+webhookColumns,
			tenant, id, w.URL, w.Description, w.Events, w.Filters.AgentIDs, w.Filters.ConversationIDs, w.Filters.Labels,
			w.Enabled, w.MaxInFlight, w.RateLimit, w.Ordering, enable)
		if err != nil {
			return fmt.Errorf("change a webhook: %w", err)
		}
		if w, err = pgx.CollectExactlyOneRow(rows, scanWebhook); err != nil {
			return fmt.Errorf("change a webhook: %w", err)
		}
		if !enable {
			return nil
		}
		// What waited is due already; this is for scheduled retries. A row
		// without an attempt may be on its way in a message, whose lease must
		// stand.
		err = eachPending(ctx, tx, tenant, id, hurried, `SET next_retry_at = now()`, `AND d.attempts > 0 AND d.next_retry_at > now()`)
		if err != nil {
			return fmt.Errorf("hurry waiting deliveries: %w", err)
		}
		return nil
	})
	if err != nil {
		return Webhook{}, err
	}
	return w, nil
}

// Delete removes a webhook: nothing is sent to it from then on, and its
// pending deliveries end as failed. Its history stays. It returns
// [ErrNotFound].
func (s *Store) Delete(ctx context.Context, tenant events.TenantID, id events.WebhookID) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE fanmail.webhooks SET deleted_at = now(), signing_secret_prev = NULL, signing_secret_prev_until = NULL
			WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`, tenant, id)
		if err != nil {
			return fmt.Errorf("delete a webhook: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		err = eachPending(ctx, tx, tenant, id, ended,
			`SET status = 'failed', finished_at = now(), next_retry_at = NULL, last_error = 'webhook deleted'`, ``)
		if err != nil {
			return fmt.Errorf("end a deleted webhook's deliveries: %w", err)
		}
		return nil
	})
}

// eachPending changes up to limit of a webhook's pending rows of either kind,
// each found by its partial index.
func eachPending(ctx context.Context, db DB, tenant events.TenantID, id events.WebhookID, limit int, set, and string) error {
	for _, kind := range []string{`AND NOT strict ORDER BY next_retry_at`, `AND strict ORDER BY seq, created_at`} {
		_, err := db.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries AS d `+set+`
			FROM (SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries AS d
				WHERE webhook_id = $2 AND tenant_id = $1 AND status = 'pending' `+and+` `+kind+` LIMIT $3 FOR UPDATE SKIP LOCKED) AS waiting
			WHERE d.id = waiting.id AND d.created_at = waiting.created_at AND d.tenant_id = $1`, tenant, id, limit)
		if err != nil {
			return err
		}
	}
	return nil
}

// Rotate gives a webhook a new signing secret, which is shown here and never
// again, and the time until which the old one signs too. It returns
// [ErrNotFound].
func (s *Store) Rotate(ctx context.Context, tenant events.TenantID, id events.WebhookID) (secret string, previousUntil time.Time, err error) {
	secret = signature.NewSecret()
	err = s.db.QueryRow(ctx, `UPDATE fanmail.webhooks
		SET signing_secret_prev = signing_secret, signing_secret_prev_until = now() + $4::interval, signing_secret = $3
		WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING signing_secret_prev_until`,
		tenant, id, secret, RotationGrace).Scan(&previousUntil)
	if err != nil {
		return "", time.Time{}, found(err, "rotate a secret")
	}
	return secret, previousUntil.UTC(), nil
}
