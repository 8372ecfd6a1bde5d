package subscribers

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/fanmail-dev/fanmail/internal/keyring"
)

// Registry holds every webhook in memory. Its zero value is not usable; see
// [NewRegistry].
type Registry struct {
	pool *pgxpool.Pool
	nc   *nats.Conn
	log  *zap.Logger
	keys *keyring.Keyring
	wait time.Duration // loadTimeout, except in tests

	mu       sync.RWMutex
	byID     map[events.WebhookID]*Entry
	byTenant map[events.TenantID]*Takers // enabled ones
	since    uint64                      // changes by transactions with lower ids are known
	life     string                      // the databaseLife in which all webhooks were last read
	watchers []func(*Entry)
	untold   []*Entry // stored, and not told to the watchers yet
	telling  bool     // a goroutine tells them
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
		pool: pool, nc: nc, log: log.Named("registry"), wait: loadTimeout,
		byID:     make(map[events.WebhookID]*Entry),
		byTenant: make(map[events.TenantID]*Takers),
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

// Watch calls f for every webhook that is new or changed from now on, in the order of
// the changes and never twice at once. Call Watch before [Registry.Run]. f must not
// block; it runs in a goroutine that loads.
func (r *Registry) Watch(f func(*Entry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, f)
}

// loadTimeout bounds one reading. Those who wait for it do other work too, such as to
// record outcomes.
const loadTimeout = 30 * time.Second

// Load reads the changes since the last call, within 30 s. The first call reads all webhooks, and
// so does the first call after a crash, a failover or a restore of the database, or
// after the file of the keyring has changed while webhooks were locked.
func (r *Registry) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
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
SELECT id, tenant_id, url, events, filter_agent_ids, filter_conversation_ids, filter_labels, filter_data,
       enabled, deleted_at IS NOT NULL, max_in_flight, coalesce(rate_limit, 0), ordering = 'strict',
       coalesce(timeout_seconds, 0), retry, max_attempts, coalesce(request_settings, ''),
       signing_secret, previous_secrets, previous_until, changed_xid::text, coalesce(envelope, ''), envelope_until, paused_at IS NOT NULL, kind = 'pull'
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
	err := row.Scan(&e.ID, &e.TenantID, &e.URL, &e.Events, &e.Filters.AgentIDs, &e.Filters.ConversationIDs, &e.Filters.Labels, &e.Filters.Data,
		&e.Enabled, &e.Deleted, &e.MaxInFlight, &e.RateLimit, &e.Strict, &seconds, &e.Retry, &e.MaxAttempts, &e.sealed,
		&stored.present, &stored.previous, &stored.until, &xid, &e.Envelope, &e.EnvelopeUntil, &e.Paused, &e.Pull)
	if err != nil {
		return nil, err
	}
	e.Timeout = time.Duration(seconds) * time.Second
	if e.data, err = storedData(&e.Filters); err != nil {
		r.log.Error("the filter on data of a webhook can't be read; it gets no events until the filter is set anew", zap.Stringer("webhook", e.ID), zap.Error(err))
	}
	if !e.Deleted && !e.Pull {
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
			r.byTenant[e.TenantID] = NewTakers(append(slices.Clip(r.byTenant[e.TenantID].All()), e)...)
		}
		r.untold = append(r.untold, e)
	}
	r.mu.Unlock()
	r.tell()
	return nil
}

// tell calls the watchers with what was stored. One goroutine does so at a time, and
// the others leave theirs to it: else one that is held up would tell of old settings
// after the new ones.
func (r *Registry) tell() {
	r.mu.Lock()
	if r.telling {
		r.mu.Unlock()
		return
	}
	r.telling = true
	for len(r.untold) > 0 {
		untold, watchers := r.untold, r.watchers
		r.untold = nil
		r.mu.Unlock()
		for _, e := range untold {
			for _, f := range watchers {
				f(e)
			}
		}
		r.mu.Lock()
	}
	r.telling = false
	r.mu.Unlock()
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
	list := slices.DeleteFunc(slices.Clone(r.byTenant[e.TenantID].All()), func(o *Entry) bool { return o.ID == e.ID })
	if len(list) == 0 {
		delete(r.byTenant, e.TenantID)
		return
	}
	r.byTenant[e.TenantID] = NewTakers(list...)
}

// Get returns a webhook, also a disabled one, and a deleted one that has a row. It returns nil if there is
// no such webhook.
func (r *Registry) Get(id events.WebhookID) *Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byID[id]
}

// Takers returns the enabled webhooks of a tenant; nil if it has none.
func (r *Registry) Takers(tenant events.TenantID) *Takers {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byTenant[tenant]
}

// Match appends to a slice the enabled webhooks of the event's tenant that want the event. The envelope is the event's.
func (r *Registry) Match(to []*Entry, ev *events.Record, envelope []byte) []*Entry {
	return r.Takers(ev.TenantID).Match(to, ev, envelope)
}
