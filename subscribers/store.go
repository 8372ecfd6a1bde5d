package subscribers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// DB is what a [Store] runs on: a pool, or a transaction to join.
type DB interface {
	pg.DB
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Store is what people manage webhooks and their deliveries through. Every
// method takes the tenant first and sees nothing of another one: somebody
// else's id is [ErrNotFound].
type Store struct {
	db     DB
	limits Limits
}

// NewStore makes a store whose webhooks obey the limits.
func NewStore(pool *pgxpool.Pool, limits Limits) *Store {
	return &Store{db: pool, limits: limits.WithDefaults()}
}

// In is the same store inside a transaction: nothing that it does counts
// before tx commits.
func (s *Store) In(tx pgx.Tx) *Store { return &Store{db: tx, limits: s.limits} }

// The errors of a [Store]. A bad setting is an [*events.FieldError].
var (
	// ErrNotFound means that the tenant has no such webhook, delivery or event.
	ErrNotFound = errors.New("not found")
	// ErrDisabled says that the webhook is disabled.
	ErrDisabled = errors.New("the webhook is disabled")
	// ErrCooldown says that the webhook was disabled automatically less than
	// [ReenableCooldown] ago.
	ErrCooldown = fmt.Errorf("the webhook was disabled automatically less than %s ago; fix its endpoint, then enable it", ReenableCooldown)
	// ErrDelivered says that a delivery has been delivered, so that there is
	// nothing to retry.
	ErrDelivered = errors.New("the delivery is delivered; to send its event again, redeliver the event")
	// ErrDeleted says that the delivery's webhook has been deleted.
	ErrDeleted = errors.New("the webhook is deleted")
	// ErrExpired says that the delivery's 30 days are over.
	ErrExpired = errors.New("the delivery has expired")
)

// LimitError says that the tenant has as many of something as it may have.
type LimitError struct {
	Name  string // "webhooks"
	Limit int
}

// Error names the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the tenant has %d %s, which is the limit", e.Limit, e.Name)
}

// Place is a row's place in a list that is ordered newest first. The zero value
// is the place before the first row.
type Place = pg.Place

const webhookColumns = `id, tenant_id, url, description, events, filter_agent_ids, filter_conversation_ids, filter_labels,
	enabled, max_in_flight, coalesce(rate_limit, 0), ordering, created_at, last_delivered_at, auto_disabled_at, coalesce(disabled_reason, '')`

func scanWebhook(row pgx.CollectableRow) (Webhook, error) {
	var w Webhook
	err := row.Scan(&w.ID, &w.TenantID, &w.URL, &w.Description, &w.Events,
		&w.Filters.AgentIDs, &w.Filters.ConversationIDs, &w.Filters.Labels,
		&w.Enabled, &w.MaxInFlight, &w.RateLimit, &w.Ordering, &w.CreatedAt, &w.LastDeliveredAt, &w.AutoDisabledAt, &w.DisabledReason)
	w.CreatedAt = w.CreatedAt.UTC()
	w.LastDeliveredAt, w.AutoDisabledAt = utc(w.LastDeliveredAt), utc(w.AutoDisabledAt)
	return w, err
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// Create makes a webhook of the tenant and gives it with its signing secret,
// which is shown here and never again. Zero values of MaxInFlight and Ordering
// mean the defaults; id and times are the store's to give. It returns an
// [*events.FieldError], a [*LimitError] where the tenant has as many webhooks
// as it may have, or [ErrNotFound] where there is no such tenant.
func (s *Store) Create(ctx context.Context, tenant events.TenantID, w Webhook) (Webhook, string, error) {
	if w.MaxInFlight == 0 {
		w.MaxInFlight = DefaultMaxInFlight
	}
	if w.Ordering == "" {
		w.Ordering = OrderingNone
	}
	w.normalize()
	if err := w.Validate(s.limits); err != nil {
		return Webhook{}, "", err
	}
	w.ID, w.TenantID = events.NewRandom[events.WebhookKind](), tenant
	secret := signature.NewSecret()
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// Creators of one tenant go one after the other from here, so that the
		// count, taken in a statement of its own, is exact.
		if err := tenancy.Lock(ctx, tx, tenant); err != nil {
			return found(err, "lock the tenant")
		}
		var have int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL`, tenant).Scan(&have); err != nil {
			return fmt.Errorf("count webhooks: %w", err)
		}
		if have >= s.limits.WebhooksPerTenant {
			return &LimitError{Name: "webhooks", Limit: s.limits.WebhooksPerTenant}
		}
		if err := checkAgents(ctx, tx, tenant, w.Filters.AgentIDs); err != nil {
			return err
		}
		if err := markStrict(ctx, tx, tenant, w.Ordering); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `INSERT INTO fanmail.webhooks (id, tenant_id, url, description, events, filter_agent_ids,
				filter_conversation_ids, filter_labels, enabled, max_in_flight, rate_limit, ordering, signing_secret)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, nullif($11, 0), $12, $13) RETURNING `+webhookColumns,
			w.ID, tenant, w.URL, w.Description, w.Events, w.Filters.AgentIDs, w.Filters.ConversationIDs, w.Filters.Labels,
			w.Enabled, w.MaxInFlight, w.RateLimit, w.Ordering, secret)
		if err != nil {
			return fmt.Errorf("insert a webhook: %w", err)
		}
		w, err = pgx.CollectExactlyOneRow(rows, scanWebhook)
		if err != nil {
			return fmt.Errorf("insert a webhook: %w", err)
		}
		return nil
	})
	if err != nil {
		return Webhook{}, "", err
	}
	return w, secret, nil
}

// normalize drops repeated values, lower-cases agents, whose addresses are
// kept that way, and leaves no list nil.
func (w *Webhook) normalize() {
	w.Events = distinct(w.Events)
	for i, a := range w.Filters.AgentIDs {
		w.Filters.AgentIDs[i] = strings.ToLower(a)
	}
	w.Filters.AgentIDs = distinct(w.Filters.AgentIDs)
	w.Filters.ConversationIDs = distinct(w.Filters.ConversationIDs)
	w.Filters.Labels = distinct(w.Filters.Labels)
}

func distinct[T comparable](in []T) []T {
	out := make([]T, 0, len(in))
	seen := make(map[T]struct{}, len(in))
	for _, v := range in {
		if _, twice := seen[v]; !twice {
			seen[v] = struct{}{}
			out = append(out, v)
		}
	}
	return out
}

func checkAgents(ctx context.Context, db DB, tenant events.TenantID, addresses []string) error {
	missing, err := mailbox.MissingAgent(ctx, db, tenant, addresses...)
	if err == nil && missing != "" {
		err = &events.FieldError{Field: "filters.agent_ids", Reason: fmt.Sprintf("names %q, which is no agent of this tenant", missing)}
	}
	return err
}

// markStrict makes the tenant's inserts take its lock from now on.
func markStrict(ctx context.Context, db DB, tenant events.TenantID, o Ordering) error {
	if o != OrderingStrict {
		return nil
	}
	return outbox.MarkStrict(ctx, db, tenant)
}

// found turns "no rows" into [ErrNotFound] and wraps everything else.
func found(err error, doing string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Get gives one webhook, without secrets, or [ErrNotFound].
func (s *Store) Get(ctx context.Context, tenant events.TenantID, id events.WebhookID) (Webhook, error) {
	return s.get(ctx, tenant, id, "")
}

func (s *Store) get(ctx context.Context, tenant events.TenantID, id events.WebhookID, lock string) (Webhook, error) {
	rows, err := s.db.Query(ctx, `SELECT `+webhookColumns+` FROM fanmail.webhooks
		WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`+lock, tenant, id)
	if err != nil {
		return Webhook{}, fmt.Errorf("read a webhook: %w", err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, scanWebhook)
	if err != nil {
		return Webhook{}, found(err, "read a webhook")
	}
	return w, nil
}

// List gives up to limit webhooks after a place, newest first, without secrets.
func (s *Store) List(ctx context.Context, tenant events.TenantID, after Place, limit int) ([]Webhook, error) {
	at, id := after.Bound()
	rows, err := s.db.Query(ctx, `SELECT `+webhookColumns+` FROM fanmail.webhooks
		WHERE tenant_id = $1 AND deleted_at IS NULL AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, tenant, at, id, limit)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanWebhook)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	return list, nil
}
