package subscribers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// Entry is a webhook in a [Registry]. It is immutable, safe for concurrent use, and
// holds the signing secrets, which only [Entry.Signer] uses.
type Entry struct {
	ID          events.WebhookID
	TenantID    events.TenantID
	URL         string
	Events      []events.Type
	Filters     Filters
	Enabled     bool
	Paused      bool // its deliveries wait
	Deleted     bool
	MaxInFlight int  // attempts, over all dispatchers
	RateLimit   int  // attempts a second; 0 for none
	Strict      bool // ordering "strict"
	// Timeout bounds an attempt; 0: [DefaultTimeout].
	Timeout time.Duration
	// Retry is the webhook's own policy; nil: the default schedule.
	Retry *Retry
	// MaxAttempts is the number of attempts of each of its deliveries.
	MaxAttempts int
	// Envelope is [EnvelopeV04] until EnvelopeUntil, or "" for Fanmail's own.
	Envelope      string
	EnvelopeUntil *time.Time

	xid      uint64
	secrets  secrets
	sealed   string            // what requests need beside the URL, as it is stored; "": nothing
	settings endpoint.Settings // the same, opened
	once     sync.Once
	target   *url.URL
	endpoint *attempt.Endpoint
	signers  []*signature.Signer // by how many previous secrets sign too
	err      error
}

// Wants reports whether an event has one of the webhook's types and passes its
// filters. It does not look at the tenant.
func (e *Entry) Wants(ev *events.Record) bool {
	return (slices.Contains(e.Events, ev.Type) || wantsEvery(e.Events)) && e.Filters.Match(ev.AgentID, ev.ConversationID, ev.Labels)
}

// OldEnvelope reports whether the webhook gets an older envelope at a time.
func (e *Entry) OldEnvelope(now time.Time) bool {
	return e.Envelope != "" && e.EnvelopeUntil != nil && now.Before(*e.EnvelopeUntil)
}

// Target returns the webhook's URL, parsed. Callers share the result and must not
// change it. The error does not show the URL.
func (e *Entry) Target() (*url.URL, error) {
	e.prepare()
	return e.target, e.err
}

// Locked reports whether a secret of the webhook is sealed with a key that this
// process does not have. Its deliveries wait until the key is there.
func (e *Entry) Locked() bool { return e.secrets.err != nil }

// Signer returns the signer of the webhook's POSTs at a time. It signs with each
// previous secret too, until [RotationGrace] after the rotation that replaced it. The
// error does not show a secret.
func (e *Entry) Signer(now time.Time) (*signature.Signer, error) {
	e.prepare()
	if e.err != nil {
		return nil, e.err
	}
	return e.signers[e.secrets.signing(now)], nil
}

// Endpoint returns what the webhook's settings add to its requests; nil: nothing. The
// error does not show them.
func (e *Entry) Endpoint() (*attempt.Endpoint, error) {
	e.prepare()
	return e.endpoint, e.err
}

// prepare parses the URL, opens the settings and makes the signers at the first
// attempt. Most webhooks in memory have no attempt in a while.
func (e *Entry) prepare() {
	e.once.Do(func() {
		if e.target, e.err = url.Parse(e.URL); e.err != nil {
			e.err = errors.New("the webhook's URL can't be read")
			return
		}
		if e.endpoint, e.err = attempt.NewEndpoint(e.ID, &e.settings, e.Timeout); e.err != nil {
			return
		}
		e.signers, e.err = e.secrets.signers(e.settings.SigningKey)
	})
}

// Registry holds every webhook in memory. Its zero value is not usable; see
// [NewRegistry].
type Registry struct {
	pool *pgxpool.Pool
	nc   *nats.Conn
	log  *zap.Logger
	keys *keyring.Keyring

	mu       sync.RWMutex
	byID     map[events.WebhookID]*Entry
	byTenant map[events.TenantID][]*Entry // enabled ones
	since    uint64                       // changes by transactions with lower ids are known
	life     string                       // the databaseLife in which all webhooks were last read
	watchers []func(*Entry)
	locked   map[events.WebhookID]struct{}
	removed  map[events.WebhookID]time.Time // removed webhooks, and when that was read
	keyed    uint64                         // the generation of the keys with which the locked were last tried
	warned   bool                           // about locked webhooks
}

// NewRegistry returns an empty registry. Call [Registry.Load] before use, and
// [Registry.Run] to keep it up to date. With a nil nc, Run finds changes by polling
// alone. A nil log is silent.
func NewRegistry(pool *pgxpool.Pool, nc *nats.Conn, log *zap.Logger) *Registry {
	if log == nil {
		log = zap.NewNop()
	}
	return &Registry{
		pool: pool, nc: nc, log: log.Named("registry"),
		byID:     make(map[events.WebhookID]*Entry),
		byTenant: make(map[events.TenantID][]*Entry),
		locked:   make(map[events.WebhookID]struct{}),
		removed:  make(map[events.WebhookID]time.Time),
	}
}

// WithKeyring gives the registry the keyring with which it opens secrets, and returns
// the registry. Call it before [Registry.Load].
func (r *Registry) WithKeyring(keys *keyring.Keyring) *Registry {
	r.keys = keys
	return r
}

// Watch calls f for every webhook that is new or changed from now on. Call Watch
// before [Registry.Run]. f must not block; it runs in the goroutine that loads.
func (r *Registry) Watch(f func(*Entry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, f)
}

// Load reads the changes since the last call. The first call reads all webhooks, and
// so does the first call after a crash, a failover or a restore of the database, or
// after the file of the keyring has changed while webhooks were locked.
func (r *Registry) Load(ctx context.Context) error {
	r.mu.RLock()
	since, life, locked, keyed := r.since, r.life, len(r.locked), r.keyed
	r.mu.RUnlock()
	if locked > 0 {
		if generation := r.keys.Refresh(); generation != keyed {
			since, keyed = 0, generation
		}
	}
	b := &pgx.Batch{}
	queue(b, since, life)
	results := r.pool.SendBatch(ctx, b)
	err := errors.Join(r.Read(results), results.Close())
	if err == nil {
		r.reportLocked(keyed)
	}
	return err
}

// databaseLife changes when the database crashes, fails over or is restored. It is
// the time of the statistics, which survive an orderly restart only.
//
// After such an event the database can use the transaction ids of lost commits
// again. A change can then have a lower id than [Registry.since]. So the statement
// itself reads all webhooks if the life has changed: no batch of the fan-out works
// with webhooks of an earlier life.
const databaseLife = `coalesce(pg_stat_get_bgwriter_stat_reset_time()::text, '')`

// The first statement reads the xmin of its snapshot, the second reads the changes.
// A transaction that the second cannot see has an id of at least that xmin, so the
// next call asks for it again.
const (
	registrySnapshot = `SELECT pg_snapshot_xmin(pg_current_snapshot())::text, ` + databaseLife + `, $1::text`
	registryChanges  = `
SELECT id, tenant_id, url, events, filter_agent_ids, filter_conversation_ids, filter_labels,
       enabled, deleted_at IS NOT NULL, max_in_flight, coalesce(rate_limit, 0), ordering = 'strict',
       coalesce(timeout_seconds, 0), retry, max_attempts, coalesce(request_settings, ''),
       signing_secret, previous_secrets, previous_until, changed_xid::text, coalesce(envelope, ''), envelope_until, paused_at IS NOT NULL
FROM fanmail.webhooks WHERE changed_xid >= CASE WHEN ` + databaseLife + ` = $2 THEN $1 ELSE '0' END::text::xid8`
)

// Queue adds the registry's two statements to a batch. Read their results with
// [Registry.Read] at the same place in the batch. Inside a transaction this makes
// the registry at least as new as the transaction's snapshot.
func (r *Registry) Queue(b *pgx.Batch) {
	r.mu.RLock()
	since, life := r.since, r.life
	r.mu.RUnlock()
	queue(b, since, life)
}

func queue(b *pgx.Batch, since uint64, life string) {
	b.Queue(registrySnapshot, life)
	b.Queue(registryChanges, strconv.FormatUint(since, 10), life)
}

// Read applies the results of the statements that [Registry.Queue] queued. If it
// returns an error, the registry is as before.
func (r *Registry) Read(results pgx.BatchResults) error {
	var xmin, life, known string
	if err := results.QueryRow().Scan(&xmin, &life, &known); err != nil {
		return fmt.Errorf("read the registry's snapshot: %w", err)
	}
	since, err := strconv.ParseUint(xmin, 10, 64)
	if err != nil {
		return fmt.Errorf("read the registry's snapshot: %w", err)
	}
	rows, err := results.Query()
	if err != nil {
		return fmt.Errorf("read changed webhooks: %w", err)
	}
	changed, err := pgx.CollectRows(rows, r.scanEntry)
	if err != nil {
		return fmt.Errorf("read changed webhooks: %w", err)
	}
	return r.apply(known, life, since, changed)
}

func (r *Registry) scanEntry(row pgx.CollectableRow) (*Entry, error) {
	e := &Entry{}
	var xid string
	var seconds int64
	var stored storedSecrets
	err := row.Scan(&e.ID, &e.TenantID, &e.URL, &e.Events, &e.Filters.AgentIDs, &e.Filters.ConversationIDs, &e.Filters.Labels,
		&e.Enabled, &e.Deleted, &e.MaxInFlight, &e.RateLimit, &e.Strict, &seconds, &e.Retry, &e.MaxAttempts, &e.sealed,
		&stored.present, &stored.previous, &stored.until, &xid, &e.Envelope, &e.EnvelopeUntil, &e.Paused)
	if err != nil {
		return nil, err
	}
	e.Timeout = time.Duration(seconds) * time.Second
	if !e.Deleted {
		e.secrets = stored.open(r.keys, e.ID)
		if e.settings, err = openSettings(r.keys, e.ID, e.sealed); err != nil {
			e.secrets.err = err
		}
	}
	e.xid, err = strconv.ParseUint(xid, 10, 64)
	return e, err
}

// apply stores changed webhooks. known is the life that the registry had when the
// statements were queued, life is the one that they found, and since is their xmin.
func (r *Registry) apply(known, life string, since uint64, changed []*Entry) error {
	var stored []*Entry
	r.mu.Lock()
	switch {
	case life == r.life:
		r.since = max(r.since, since) // of two concurrent reads the older may end later
	case known == r.life: // changed holds all webhooks
		r.life, r.since = life, since
		clear(r.byID)
		clear(r.byTenant)
		clear(r.locked)
		clear(r.removed)
	default:
		r.mu.Unlock()
		return errors.New("read changed webhooks: the database crashed or failed over meanwhile, so the result may be out of date; read again")
	}
	for _, e := range changed {
		old := r.byID[e.ID]
		if old != nil && (old.xid > e.xid || old.xid == e.xid && old.same(e)) {
			continue
		}
		r.byID[e.ID] = e
		r.note(e)
		if old != nil {
			r.unlist(old)
		}
		if e.Enabled && !e.Deleted {
			r.byTenant[e.TenantID] = append(slices.Clip(r.byTenant[e.TenantID]), e)
		}
		stored = append(stored, e)
	}
	watchers := r.watchers
	r.mu.Unlock()
	for _, e := range stored {
		for _, f := range watchers {
			f(e)
		}
	}
	return nil
}

// same compares the fields that two statements of one transaction may change.
func (e *Entry) same(o *Entry) bool {
	return e.Enabled == o.Enabled && e.Paused == o.Paused && e.Deleted == o.Deleted && e.secrets.same(&o.secrets) && e.URL == o.URL &&
		e.sealed == o.sealed && e.Timeout == o.Timeout && e.Envelope == o.Envelope && reflect.DeepEqual(e.EnvelopeUntil, o.EnvelopeUntil) && reflect.DeepEqual(e.Retry, o.Retry)
}

// note keeps the sets of locked and of removed webhooks.
func (r *Registry) note(e *Entry) {
	if e.Deleted {
		r.removed[e.ID] = time.Now()
	}
	if e.Locked() {
		r.locked[e.ID] = struct{}{}
	} else {
		delete(r.locked, e.ID)
	}
}

// reportLocked logs when webhooks become locked, and when none is any more. keyed is
// the generation of the keys with which the locked ones were tried.
func (r *Registry) reportLocked(keyed uint64) {
	r.mu.Lock()
	r.keyed = max(r.keyed, keyed)
	locked := len(r.locked)
	var example *Entry
	for id := range r.locked {
		example = r.byID[id]
		break
	}
	changed := r.warned != (locked > 0)
	r.warned = locked > 0
	r.mu.Unlock()
	switch {
	case changed && locked > 0:
		r.log.Error("secrets can't be opened; deliveries of their webhooks wait", zap.Int("webhooks", locked), zap.Stringer("webhook", example.ID), zap.Error(example.secrets.err))
	case changed:
		r.log.Info("all secrets can be opened; deliveries go on")
	}
}

// unlist removes a webhook from its tenant's list. Readers hold the old slice, so it
// makes a new one.
func (r *Registry) unlist(e *Entry) {
	list := slices.DeleteFunc(slices.Clone(r.byTenant[e.TenantID]), func(o *Entry) bool { return o.ID == e.ID })
	if len(list) == 0 {
		delete(r.byTenant, e.TenantID)
		return
	}
	r.byTenant[e.TenantID] = list
}

// Get returns a webhook, also a disabled one, and a deleted one that has a row. It returns nil if there is
// no such webhook.
func (r *Registry) Get(id events.WebhookID) *Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byID[id]
}

// Match appends to a slice the enabled webhooks of the event's tenant that want the
// event.
func (r *Registry) Match(to []*Entry, ev *events.Record) []*Entry {
	r.mu.RLock()
	list := r.byTenant[ev.TenantID]
	r.mu.RUnlock()
	for _, e := range list {
		if e.Wants(ev) {
			to = append(to, e)
		}
	}
	return to
}

// Run loads changes every second, and at every hint by [WakeRegistry], until ctx
// ends. It then returns nil. If the database cannot be read, it logs that and keeps
// what it has. It returns an error only if it cannot subscribe to the hints.
func (r *Registry) Run(ctx context.Context) error {
	hints := make(chan *nats.Msg, 1)
	if r.nc != nil {
		sub, err := r.nc.Subscribe(events.WakeWebhooks, func(m *nats.Msg) {
			select {
			case hints <- m:
			default:
			}
		})
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", events.WakeWebhooks, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	failing, forgot := false, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-hints:
		}
		err := r.Load(ctx)
		if err == nil && time.Since(forgot) >= removedCheck {
			forgot, err = time.Now(), r.forget(ctx, removedCheck)
		}
		if err != nil && ctx.Err() == nil && !failing {
			r.log.Warn("cannot read changed webhooks; continuing with those known", zap.Error(err))
		}
		failing = err != nil
	}
}

const (
	// removedCheck is how often a registry looks which removed webhooks have no row any more. It asks about those only
	// that it has known to be removed for as long, so that no read from before the removal is still under way.
	removedCheck = time.Hour
	// removedBatch bounds one such statement.
	removedBatch = 5000
)

// forget drops removed webhooks whose rows the retention has deleted. It asks about those that the registry has known to
// be removed for the time given. The rows of the others are still there: their pending deliveries must end.
func (r *Registry) forget(ctx context.Context, known time.Duration) error {
	var ids []events.WebhookID
	r.mu.RLock()
	for id, at := range r.removed {
		if time.Since(at) >= known {
			if ids = append(ids, id); len(ids) == removedBatch {
				break
			}
		}
	}
	r.mu.RUnlock()
	if len(ids) == 0 {
		return nil
	}
	rows, err := r.pool.Query(ctx, `SELECT id FROM fanmail.webhooks WHERE id = ANY ($1::uuid[])`, ids)
	if err != nil {
		return fmt.Errorf("look up removed webhooks: %w", err)
	}
	kept := make(map[events.WebhookID]bool)
	var id events.WebhookID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { kept[id] = true; return nil }); err != nil {
		return fmt.Errorf("look up removed webhooks: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if e := r.byID[id]; !kept[id] && e != nil && e.Deleted {
			delete(r.byID, id)
			delete(r.removed, id)
		}
	}
	return nil
}
