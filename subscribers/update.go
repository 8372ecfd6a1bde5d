package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// Patch is a change of a webhook. A nil field is not changed. In Headers and Auth,
// [Masked] keeps a secret as it is. A URL of another scheme, host or port needs the secrets
// of Headers and Auth anew, or removed, in the same change: stored ones are not sent there.
// So does another token URL for the client secret. A private key and the signing secret stay.
type Patch struct {
	URL         *string
	Subject     *string // of [KindNATS]
	Description *string
	Events      *[]events.Type
	Filters     *Filters // replaces all of them
	Enabled     *bool
	Kind        *Kind // can't be changed: another value than the present is refused
	Paused      *bool // true: events are fanned out, and their deliveries wait
	MaxInFlight *int  // 0 for that of [Limits]
	RateLimit   *int  // attempts a second; 0 removes the limit
	Ordering    *Ordering
	Timeout     *time.Duration     // 0 for [DefaultTimeout]
	Retry       *Retry             // the zero value: the default schedule
	Headers     *map[string]string // replaces all of them
	Auth        *Auth              // the zero value removes it
	CA          *string            // "" removes it
	Ed25519     *bool              // true makes a key pair if there is none; false removes it
	// Envelope is [EnvelopeV04], or "" for Fanmail's own. A change of it without EnvelopeUntil
	// sets that to [EnvelopePeriod] from now.
	Envelope      *string
	EnvelopeUntil *time.Time
}

func (p *Patch) apply(w *Webhook) {
	set(&w.URL, p.URL)
	set(&w.Subject, p.Subject)
	set(&w.Kind, p.Kind)
	set(&w.Description, p.Description)
	set(&w.Events, p.Events)
	set(&w.Filters, p.Filters)
	set(&w.Enabled, p.Enabled)
	set(&w.Paused, p.Paused)
	set(&w.MaxInFlight, p.MaxInFlight)
	set(&w.RateLimit, p.RateLimit)
	set(&w.Ordering, p.Ordering)
	set(&w.Timeout, p.Timeout)
	set(&w.Headers, p.Headers)
	set(&w.CA, p.CA)
	set(&w.Ed25519, p.Ed25519)
	if p.Envelope != nil {
		w.Envelope, w.EnvelopeUntil = *p.Envelope, nil
	}
	if p.EnvelopeUntil != nil {
		w.EnvelopeUntil = p.EnvelopeUntil
	}
	if p.Retry != nil {
		if w.Retry = p.Retry; w.Retry.IsZero() {
			w.Retry = nil
		}
	}
	if p.Auth != nil {
		if w.Auth = p.Auth; w.Auth.IsZero() {
			w.Auth = nil
		}
	}
}

// settings reports whether the patch changes what requests need beside the URL.
func (p *Patch) settings() bool {
	return p.Headers != nil || p.Auth != nil || p.CA != nil || p.Ed25519 != nil || p.Subject != nil
}

// finish checks the changed webhook against what it was, and sets the end of its envelope if the patch does not.
func (p *Patch) finish(was, w *Webhook, now time.Time) error {
	if err := p.checkMove(was, w); err != nil {
		return err
	}
	if p.Envelope == nil && p.EnvelopeUntil == nil {
		return nil
	}
	if err := checkEnvelope(w.Envelope, w.EnvelopeUntil, now); err != nil {
		return err
	}
	w.normalizeEnvelope(now)
	return nil
}

// checkMove returns an [*events.FieldError] if a change of the URL would send stored secrets to another origin.
func (p *Patch) checkMove(was, w *Webhook) error {
	before, s := was.settings(), w.settings()
	return s.CheckMove(&before, was.URL, w.URL, p.Headers != nil, p.Auth != nil)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// validate checks only the fields that the patch sets: a webhook that was accepted
// under older limits can still be disabled.
func (p *Patch) validate(l Limits) error {
	w := Webhook{Kind: KindPush, URL: "https://example.com/", Events: []events.Type{events.EmailReceived}, MaxInFlight: 1, Ordering: OrderingNone, Envelope: EnvelopeV04}
	p.apply(&w)
	return w.Validate(l)
}

const (
	// maxMadeDue bounds how many waiting deliveries become due when their webhook
	// is enabled. The others wait for their own time.
	maxMadeDue = 1000
	// maxEnded bounds how many deliveries a deletion ends. The dispatcher ends the
	// others when it fetches them.
	maxEnded = 5000
)

// Update changes a webhook and returns the result. Enabling or resuming it makes
// deliveries that wait for a retry due, and restarts the count of failures. It returns
// [ErrNotFound], an [*events.FieldError], or [ErrCooldown] if the webhook was
// disabled automatically a moment ago.
func (s *Store) Update(ctx context.Context, tenant events.TenantID, id events.WebhookID, p Patch) (Webhook, error) {
	if p.MaxInFlight != nil && *p.MaxInFlight == 0 {
		p.MaxInFlight = &s.limits.MaxInFlight
	}
	if err := p.validate(s.limits); err != nil {
		return Webhook{}, err
	}
	if p.URL != nil {
		url, err := s.limits.normalizeWebhookURL(*p.URL)
		if err != nil {
			return Webhook{}, err
		}
		p.URL = &url
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
		if err := w.checkKind(&was); err != nil {
			return err
		}
		if err := p.checkNames(ctx, tx, &w); err != nil {
			return err
		}
		if err := p.finish(&was, &w, time.Now()); err != nil {
			return err
		}
		if p.settings() {
			if err := w.normalizeSettings(s.limits, &was); err != nil {
				return err
			}
		}
		if err := markStrict(ctx, tx, tenant, w.Ordering); err != nil {
			return err
		}
		enable, resume := w.Enabled && !was.Enabled, was.Paused && !w.Paused
		if enable && was.AutoDisabledAt != nil {
			if err := checkCooldown(ctx, tx, tenant, id); err != nil {
				return err
			}
		}
		if w, err = s.write(ctx, tx, &w, enable, p.settings()); err != nil || !enable && !resume {
			return err
		}
		if enable {
			w.MissedSince = was.DisabledAt
		}
		return makeDue(ctx, tx, &w)
	})
	if err != nil {
		return Webhook{}, err
	}
	return w.masked(), nil
}

// checkNames checks that the agents and the types that the patch names are there.
func (p *Patch) checkNames(ctx context.Context, tx pgx.Tx, w *Webhook) error {
	if p.Filters != nil {
		if err := checkAgents(ctx, tx, w.TenantID, w.Filters.AgentIDs); err != nil {
			return err
		}
	}
	if p.Events == nil {
		return nil
	}
	return checkTypes(ctx, tx, w.TenantID, w.Events)
}

// makeDue makes the deliveries due that wait for a retry, unless the webhook sends nothing. A lease stays with its
// dispatcher, which may have an attempt in flight.
func makeDue(ctx context.Context, tx pgx.Tx, w *Webhook) error {
	if !w.Enabled || w.Paused {
		return nil
	}
	err := eachPending(ctx, tx, w.TenantID, w.ID, maxMadeDue, `SET next_retry_at = now()`, `AND NOT leased AND next_retry_at > now()`)
	if err != nil {
		return fmt.Errorf("make waiting deliveries due: %w", err)
	}
	return nil
}

// checkCooldown returns [ErrCooldown] if the webhook was disabled automatically less
// than [ReenableCooldown] ago.
func checkCooldown(ctx context.Context, tx pgx.Tx, tenant events.TenantID, id events.WebhookID) error {
	var cooling bool
	// clock_timestamp, because the transaction may have waited for the row.
	err := tx.QueryRow(ctx, `SELECT auto_disabled_at > clock_timestamp() - $3::interval FROM fanmail.webhooks WHERE tenant_id = $1 AND id = $2`,
		tenant, id, ReenableCooldown).Scan(&cooling)
	if err != nil {
		return fmt.Errorf("read the cool-down: %w", err)
	}
	if cooling {
		return ErrCooldown
	}
	return nil
}

// write stores the settings of a webhook, those for requests with sent. With enable it
// also ends an automatic disabling.
func (s *Store) write(ctx context.Context, tx pgx.Tx, w *Webhook, enable, sent bool) (Webhook, error) {
	var sealed *string
	if sent {
		var err error
		if sealed, err = sealSettings(ctx, tx, s.keys, w); err != nil {
			return Webhook{}, err
		}
	}
	rows, err := tx.Query(ctx, `UPDATE fanmail.webhooks SET url = $3, description = $4, events = $5, filter_agent_ids = $6,
			filter_conversation_ids = $7, filter_labels = $8, enabled = $9, max_in_flight = $10, rate_limit = nullif($11, 0), ordering = $12,
			timeout_seconds = nullif($14, 0), retry = $15, max_attempts = $16,
			request_settings = CASE WHEN $17 THEN $18 ELSE request_settings END, envelope = nullif($19, ''), envelope_until = $20,
			enabled_at = CASE WHEN $13 OR paused_at IS NOT NULL AND NOT $21 THEN now() ELSE enabled_at END,
			paused_at = CASE WHEN $21 THEN coalesce(paused_at, now()) END, filter_data = nullif($22, ''),
			auto_disabled_at = CASE WHEN $13 THEN NULL ELSE auto_disabled_at END,
			disabled_reason = CASE WHEN $13 THEN NULL ELSE disabled_reason END,
			recovering = recovering OR $13 AND auto_disabled_at IS NOT NULL
		WHERE tenant_id = $1 AND id = $2 RETURNING `+webhookColumns,
		w.TenantID, w.ID, w.URL, w.Description, w.Events, w.Filters.AgentIDs, w.Filters.ConversationIDs, w.Filters.Labels,
		w.Enabled, w.MaxInFlight, w.RateLimit, w.Ordering, enable, int(w.Timeout.Seconds()), w.Retry, w.Retry.Count(), sent, sealed, w.Envelope, w.EnvelopeUntil, w.Paused, string(w.Filters.Data))
	if err != nil {
		return Webhook{}, fmt.Errorf("update a webhook: %w", err)
	}
	updated, err := pgx.CollectExactlyOneRow(rows, s.scanWebhook)
	if err != nil {
		return Webhook{}, fmt.Errorf("update a webhook: %w", err)
	}
	return updated, nil
}

// Delete deletes a webhook: no further attempt starts, and its pending deliveries become
// failed. A row that a dispatcher holds waits for its outcome or the end of its lease,
// so that it says what the receiver saw. The history stays readable. It returns
// [ErrNotFound].
func (s *Store) Delete(ctx context.Context, tenant events.TenantID, id events.WebhookID) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE fanmail.webhooks SET deleted_at = now(), signing_secret = '', request_settings = NULL, previous_secrets = '{}', previous_until = '{}',
				description = '', filter_agent_ids = '{}', filter_conversation_ids = '{}', filter_labels = '{}', filter_data = NULL, retry = NULL
			WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`, tenant, id)
		if err != nil {
			return fmt.Errorf("delete a webhook: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		err = eachPending(ctx, tx, tenant, id, maxEnded,
			`SET status = 'failed', finished_at = now(), next_retry_at = NULL, last_error = 'webhook deleted'`,
			`AND NOT `+held)
		if err != nil {
			return fmt.Errorf("end a deleted webhook's deliveries: %w", err)
		}
		return nil
	})
}

// eachPending changes up to limit strict and limit other pending rows of a webhook,
// each kind found by its partial index.
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
