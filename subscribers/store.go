package subscribers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
)

// DB is a pool or a transaction.
type DB = pg.TxDB

// Store manages the webhooks of tenants and their deliveries. Each method takes the
// tenant and sees nothing of other tenants: the id of another tenant's webhook is
// [ErrNotFound]. A Store is safe for concurrent use. Its zero value is not usable;
// see [NewStore].
type Store struct {
	db     DB
	limits Limits
	keys   *keyring.Keyring
	watch  *watch // of the polls that wait
}

// NewStore returns a store on a pool or a transaction. Webhooks must keep to the limits
// when they are created or changed. Secrets are stored in clear; see
// [Store.WithKeyring].
func NewStore(db DB, limits Limits) *Store {
	return &Store{db: db, limits: limits.WithDefaults(), watch: &watch{db: db}}
}

// In returns the same store inside a transaction: its changes take effect when tx
// commits. The typed errors of this package leave tx usable.
func (s *Store) In(tx pgx.Tx) *Store {
	return &Store{db: tx, limits: s.limits, keys: s.keys, watch: s.watch}
}

// WithKeyring returns the same store with a keyring, with which it seals secrets.
func (s *Store) WithKeyring(keys *keyring.Keyring) *Store {
	return &Store{db: s.db, limits: s.limits, keys: keys, watch: s.watch}
}

// The errors of a [Store]. A bad setting is an [*events.FieldError].
var (
	// ErrNotFound means that the tenant has no such webhook, delivery or event.
	ErrNotFound = errors.New("not found")
	// ErrDisabled means that the webhook is disabled.
	ErrDisabled = errors.New("the webhook is disabled")
	// ErrPaused means that the webhook is paused, so that a test of it would wait.
	ErrPaused = errors.New("the webhook is paused; resume it, then send the test")
	// ErrPull means that the webhook is of [KindPull], so that nothing is signed for it.
	ErrPull = errors.New("the webhook is of kind pull, so it has no signing secret")
	// ErrPush means that the webhook is not of [KindPull]: it can't be polled.
	ErrPush = errors.New("the webhook is sent its deliveries; only one of kind pull can be polled")
	// ErrCooldown means that the webhook was disabled automatically less than
	// [ReenableCooldown] ago.
	ErrCooldown = fmt.Errorf("the webhook was disabled automatically less than %s ago; fix its endpoint, then enable it", ReenableCooldown)
	// ErrDelivered means that the delivery has succeeded: there is nothing to retry.
	ErrDelivered = errors.New("the delivery is delivered; to send its event again, redeliver the event")
	// ErrDeleted means that the delivery's webhook was deleted.
	ErrDeleted = errors.New("the webhook is deleted")
	// ErrExpired means that the delivery is older than its [Retention].
	ErrExpired = errors.New("the delivery has expired")
	// ErrAttempts means that a retry would give the delivery more than [retry.Most] attempts.
	ErrAttempts = fmt.Errorf("a delivery has at most %d attempts, and this one has no room for those of a retry; to send its event again, redeliver the event", retry.Most)
	// ErrInFlight means that a dispatcher holds the delivery: its attempt is in flight,
	// or about to start.
	ErrInFlight = errors.New("an attempt of the delivery is in flight or about to start")
)

// LimitError means that the tenant has reached a limit.
type LimitError struct {
	Name  string // what is limited: "webhooks"
	Limit int    // how many the tenant may have
}

// Error names the limit and its value.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the tenant has %d %s, which is the limit", e.Limit, e.Name)
}

// Place is the position of a row in a list that is ordered newest first. The zero
// value is the position before the first row.
type Place = pg.Place

const webhookColumns = `id, tenant_id, url, description, events, filter_agent_ids, filter_conversation_ids, filter_labels, filter_data,
	enabled, max_in_flight, coalesce(rate_limit, 0), ordering, coalesce(timeout_seconds, 0), retry, coalesce(request_settings, ''),
	created_at, last_delivered_at, auto_disabled_at, coalesce(disabled_reason, ''), coalesce(envelope, ''), envelope_until,
	CASE WHEN NOT enabled THEN disabled_at END, paused_at, kind, last_polled_at`

// scanWebhook scans the columns named in webhookColumns. The webhook has its secrets.
func (s *Store) scanWebhook(row pgx.CollectableRow) (Webhook, error) {
	var w Webhook
	var seconds int64
	var sealed string
	err := row.Scan(&w.ID, &w.TenantID, &w.URL, &w.Description, &w.Events,
		&w.Filters.AgentIDs, &w.Filters.ConversationIDs, &w.Filters.Labels, &w.Filters.Data,
		&w.Enabled, &w.MaxInFlight, &w.RateLimit, &w.Ordering, &seconds, &w.Retry, &sealed,
		&w.CreatedAt, &w.LastDeliveredAt, &w.AutoDisabledAt, &w.DisabledReason, &w.Envelope, &w.EnvelopeUntil, &w.DisabledAt, &w.PausedAt, &w.Kind, &w.LastPolledAt)
	if err != nil {
		return w, err
	}
	w.Timeout = time.Duration(seconds) * time.Second
	w.CreatedAt = w.CreatedAt.UTC()
	w.LastDeliveredAt, w.AutoDisabledAt, w.EnvelopeUntil = utc(w.LastDeliveredAt), utc(w.AutoDisabledAt), utc(w.EnvelopeUntil)
	w.DisabledAt, w.PausedAt, w.LastPolledAt = utc(w.DisabledAt), utc(w.PausedAt), utc(w.LastPolledAt)
	w.Paused = w.PausedAt != nil
	settings, err := openSettings(s.keys, w.ID, sealed)
	if err != nil {
		return w, err
	}
	return w, w.setSettings(settings)
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// Count returns how many webhooks the tenant has.
func (s *Store) Count(ctx context.Context, tenant events.TenantID) (n int, err error) {
	err = s.db.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL`, tenant).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count webhooks: %w", err)
	}
	return n, nil
}

// Create inserts a webhook and returns it with its signing secret. The secret cannot
// be read later. A zero MaxInFlight means that of [Limits], an empty Ordering
// [OrderingNone], and an empty Kind [KindPush]. A webhook of [KindPull] has no secret. Create sets the id, the tenant and the times.
//
// It returns an [*events.FieldError] for a bad setting, a [*LimitError] if the tenant
// has no room for another webhook, and [ErrNotFound] if there is no such tenant. It
// creates nothing if secrets are sealed and the store has no key.
func (s *Store) Create(ctx context.Context, tenant events.TenantID, w Webhook) (Webhook, string, error) {
	w.ID = events.NewRandom[events.WebhookKind]()
	return s.create(ctx, tenant, w)
}

// create is [Store.Create] for a webhook with an id.
func (s *Store) create(ctx context.Context, tenant events.TenantID, w Webhook) (Webhook, string, error) {
	if err := w.complete(s.limits); err != nil {
		return Webhook{}, "", err
	}
	w.normalize()
	if err := w.Validate(s.limits); err != nil {
		return Webhook{}, "", err
	}
	w.normalizeEnvelope(time.Now())
	if err := w.normalizeSettings(s.limits, &Webhook{}); err != nil {
		return Webhook{}, "", err
	}
	secret, err := w.toSend(s.limits)
	if err != nil {
		return Webhook{}, "", err
	}
	w.TenantID = tenant
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// The lock makes concurrent calls for one tenant take turns, so that the count
		// is exact. The count needs a later snapshot: a statement of its own.
		if err := tenancy.Lock(ctx, tx, tenant); err != nil {
			return found(err, "lock the tenant")
		}
		have, err := s.In(tx).Count(ctx, tenant)
		if err != nil {
			return err
		}
		if have >= s.limits.WebhooksPerTenant {
			return &LimitError{Name: "webhooks", Limit: s.limits.WebhooksPerTenant}
		}
		if err := checkAgents(ctx, tx, tenant, w.Filters.AgentIDs); err != nil {
			return err
		}
		if err := checkTypes(ctx, tx, tenant, w.Events); err != nil {
			return err
		}
		if err := markStrict(ctx, tx, tenant, w.Ordering); err != nil {
			return err
		}
		sealed := ""
		if secret != "" {
			sealed, err = sealSecret(ctx, tx, s.keys, secret, w.ID)
		}
		if err != nil {
			return err
		}
		w, err = s.insertWebhook(ctx, tx, &w, sealed)
		return err
	})
	if err != nil {
		return Webhook{}, "", err
	}
	return w.masked(), secret, nil
}

// insertWebhook inserts a checked webhook with its sealed secret.
func (s *Store) insertWebhook(ctx context.Context, tx pgx.Tx, w *Webhook, sealed string) (Webhook, error) {
	settings, err := sealSettings(ctx, tx, s.keys, w)
	if err != nil {
		return Webhook{}, err
	}
	rows, err := tx.Query(ctx, `INSERT INTO fanmail.webhooks (id, tenant_id, url, description, events, filter_agent_ids,
			filter_conversation_ids, filter_labels, enabled, max_in_flight, rate_limit, ordering, timeout_seconds, retry, max_attempts,
			request_settings, signing_secret, envelope, envelope_until, paused_at, filter_data, kind)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, nullif($11, 0), $12, nullif($13, 0), $14, $15, $16, $17, nullif($18, ''), $19,
			CASE WHEN $20 THEN now() END, nullif($21, ''), $22) RETURNING `+webhookColumns,
		w.ID, w.TenantID, w.URL, w.Description, w.Events, w.Filters.AgentIDs, w.Filters.ConversationIDs, w.Filters.Labels,
		w.Enabled, w.MaxInFlight, w.RateLimit, w.Ordering, int(w.Timeout.Seconds()), w.Retry, w.Retry.Count(), settings, sealed, w.Envelope, w.EnvelopeUntil, w.Paused, string(w.Filters.Data), w.Kind)
	if err != nil {
		return Webhook{}, fmt.Errorf("insert a webhook: %w", err)
	}
	made, err := pgx.CollectExactlyOneRow(rows, s.scanWebhook)
	if err != nil {
		return Webhook{}, fmt.Errorf("insert a webhook: %w", err)
	}
	return made, nil
}

// normalize removes repeated values and leaves no list nil. It makes agents lower
// case, as their addresses are stored.
func (w *Webhook) normalize() {
	w.Description = input.Shown(w.Description)
	w.Events = distinct(w.Events)
	if wantsEvery(w.Events) {
		w.Events = []events.Type{EveryType}
	}
	w.Filters.AgentIDs = slices.Clone(w.Filters.AgentIDs) // the caller's stay as they are
	for i, a := range w.Filters.AgentIDs {
		w.Filters.AgentIDs[i] = mailbox.Fold(a)
	}
	w.Filters.AgentIDs = distinct(w.Filters.AgentIDs)
	w.Filters.ConversationIDs = distinct(w.Filters.ConversationIDs)
	w.Filters.Labels = distinct(w.Filters.Labels)
	switch data, err := storedData(&w.Filters); {
	case err != nil: // Validate says what is wrong
	case data == nil:
		w.Filters.Data = nil
	default:
		w.Filters.Data = data.JSON()
	}
}

// distinct returns the values of a slice without repetitions, in order; never nil.
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

// checkAgents returns an [*events.FieldError] if an address is not an agent of the
// tenant.
func checkAgents(ctx context.Context, db DB, tenant events.TenantID, addresses []string) error {
	missing, err := mailbox.MissingAgent(ctx, db, tenant, addresses...)
	if err == nil && missing != "" {
		err = &events.FieldError{Field: "filters.agent_ids", Reason: fmt.Sprintf("names %q, which is no agent of this tenant", missing)}
	}
	return err
}

// checkTypes returns an [*events.FieldError] if a type is neither of the catalogue nor one
// of the tenant's or the operator's. It keeps those that it finds until tx ends.
func checkTypes(ctx context.Context, tx DB, tenant events.TenantID, types []events.Type) error {
	missing, err := eventtype.Hold(ctx, tx, tenant, types)
	if err == nil && missing != "" {
		err = (&events.UnknownTypeError{Type: missing}).In(fmt.Sprintf("events[%d]", slices.Index(types, missing)))
	}
	return err
}

// markStrict marks the tenant as strict if the ordering is strict; see
// [outbox.MarkStrict].
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

// Get returns one webhook, without secrets. It returns [ErrNotFound] if the tenant
// has no such webhook, or has deleted it.
func (s *Store) Get(ctx context.Context, tenant events.TenantID, id events.WebhookID) (Webhook, error) {
	w, err := s.get(ctx, tenant, id, "")
	return w.masked(), err
}

// get is Get with a locking clause, such as " FOR SHARE", and with secrets.
func (s *Store) get(ctx context.Context, tenant events.TenantID, id events.WebhookID, lock string) (Webhook, error) {
	rows, err := s.db.Query(ctx, `SELECT `+webhookColumns+` FROM fanmail.webhooks
		WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`+lock, tenant, id)
	if err != nil {
		return Webhook{}, fmt.Errorf("read a webhook: %w", err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, s.scanWebhook)
	if err != nil {
		return Webhook{}, found(err, "read a webhook")
	}
	return w, nil
}

// List returns up to limit webhooks of the tenant after a place, newest first, without
// secrets. Deleted ones are left out.
func (s *Store) List(ctx context.Context, tenant events.TenantID, after Place, limit int) ([]Webhook, error) {
	var all []Webhook
	for {
		list, more, err := s.ListPage(ctx, tenant, after, limit-len(all))
		if err != nil {
			return nil, err
		}
		if all = append(all, list...); !more || len(all) >= limit {
			return all, nil
		}
		after = Place{CreatedAt: all[len(all)-1].CreatedAt, ID: all[len(all)-1].ID}
	}
}

// ListPage is [Store.List], but ends early after about a MiB of webhooks. more then says that
// others come after the last one.
func (s *Store) ListPage(ctx context.Context, tenant events.TenantID, after Place, limit int) (list []Webhook, more bool, err error) {
	at, id := after.Bound()
	rows, err := s.db.Query(ctx, `SELECT `+webhookColumns+` FROM fanmail.webhooks
		WHERE tenant_id = $1 AND deleted_at IS NULL AND (created_at, id) < ($2, $3)
		ORDER BY created_at DESC, id DESC LIMIT $4`, tenant, at, id, limit)
	if err != nil {
		return nil, false, fmt.Errorf("list webhooks: %w", err)
	}
	list, more, err = pg.CollectPage(rows, func(row pgx.CollectableRow) (Webhook, error) {
		w, err := s.scanWebhook(row)
		return w.masked(), err
	})
	if err != nil {
		return nil, false, fmt.Errorf("list webhooks: %w", err)
	}
	return list, more, nil
}

// Takers returns the tenant's enabled webhooks as the fan-out matches them: the named
// one, or all if webhook is zero, newest first. They have no secrets and can't sign. It
// returns [ErrNotFound] if the tenant has no such webhook.
func (s *Store) Takers(ctx context.Context, tenant events.TenantID, webhook events.WebhookID) (*Takers, error) {
	if !webhook.IsZero() {
		w, err := s.Get(ctx, tenant, webhook)
		if err != nil {
			return nil, err
		}
		return NewTakers(w.taker()), nil
	}
	var all []*Entry
	var after Place
	for {
		list, err := s.List(ctx, tenant, after, takersPage)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].Enabled {
				all = append(all, list[i].taker())
			}
			after = Place{CreatedAt: list[i].CreatedAt, ID: list[i].ID}
		}
		if len(list) < takersPage {
			return NewTakers(all...), nil
		}
	}
}

// takersPage is how many webhooks [Store.Takers] reads at once.
const takersPage = 500

func (w *Webhook) taker() *Entry {
	data, _ := storedData(&w.Filters) // one that can't be read refuses all events, as in a registry
	return &Entry{ID: w.ID, TenantID: w.TenantID, URL: w.URL, Events: w.Events, Filters: w.Filters, data: data, Enabled: w.Enabled, Strict: w.Ordering == OrderingStrict, Pull: w.Kind == KindPull}
}
