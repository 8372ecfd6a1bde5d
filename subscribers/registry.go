package subscribers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// Entry is a webhook as the engine sees it. It is immutable and holds the secrets.
type Entry struct {
	ID          events.WebhookID
	TenantID    events.TenantID
	URL         string
	Events      []events.Type
	Filters     Filters
	Enabled     bool
	Deleted     bool
	MaxInFlight int
	RateLimit   int
	Strict      bool

	xid             uint64
	secret, prev    string
	prevUntil       time.Time
	once            sync.Once
	target          *url.URL
	single, rotated *signature.Signer
	err             error
}

// Wants reports whether an event has one of the webhook's types and passes its
// filters. It does not look at the tenant.
func (e *Entry) Wants(ev *events.Record) bool {
	return slices.Contains(e.Events, ev.Type) && e.Filters.Match(ev.AgentID, ev.ConversationID, ev.Labels)
}

// Target is the webhook's URL, parsed; the callers share it and must not
// change it.
func (e *Entry) Target() (*url.URL, error) {
	e.prepare()
	return e.target, e.err
}

// Signer is what signs the webhook's POSTs at now: with the previous secret
// too while it is in its grace.
func (e *Entry) Signer(now time.Time) (*signature.Signer, error) {
	e.prepare()
	if e.rotated != nil && now.Before(e.prevUntil) {
		return e.rotated, e.err
	}
	return e.single, e.err
}

// prepare does at a webhook's first attempt what would be waste for the many
// that have none.
func (e *Entry) prepare() {
	e.once.Do(func() {
		if e.target, e.err = url.Parse(e.URL); e.err != nil {
			e.err = errors.New("the webhook's URL can't be read")
			return
		}
		e.single, e.err = signature.NewSigner(e.secret)
		if e.err == nil && e.prev != "" {
			e.rotated, e.err = signature.NewSigner(e.secret, e.prev)
		}
	})
}

// Registry holds every webhook in memory. Its zero value is not usable; see
// [NewRegistry].
type Registry struct {
	pool *pgxpool.Pool
	nc   *nats.Conn
	log  *zap.Logger

	mu       sync.RWMutex
	byID     map[events.WebhookID]*Entry
	byTenant map[events.TenantID][]*Entry // enabled ones
	since    uint64                       // every change by an older transaction is known
	life     string                       // of the database, when all webhooks were last read
	watchers []func(*Entry)
}

// NewRegistry returns an empty registry; call Load before use. With a nil nc,
// changes are found by polling alone. log may be nil.
func NewRegistry(pool *pgxpool.Pool, nc *nats.Conn, log *zap.Logger) *Registry {
	if log == nil {
		log = zap.NewNop()
	}
	return &Registry{
		pool: pool, nc: nc, log: log.Named("registry"),
		byID:     make(map[events.WebhookID]*Entry),
		byTenant: make(map[events.TenantID][]*Entry),
	}
}

// Watch calls f for every webhook that changes from now on. Call it before
// Run. f must not block.
func (r *Registry) Watch(f func(*Entry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, f)
}

// Load reads the changes since the last call; the first call reads everything.
func (r *Registry) Load(ctx context.Context) error {
	b := &pgx.Batch{}
	r.Queue(b)
	results := r.pool.SendBatch(ctx, b)
	err := r.Read(results)
	return errors.Join(err, results.Close())
}

// The database's life is known by its statistics: they survive an orderly
// restart, while a crash, a failover or a restore begins new ones. Those also
// give the transaction ids of commits that were lost out again, so that what
// changes in the new life can have older ids than are known: everything is
// read then, by the statement itself, so that no batch of the fan-out runs on
// what an earlier life knew.
const databaseLife = `coalesce(pg_stat_get_bgwriter_stat_reset_time()::text, '')`

// The snapshot's xmin is read first and the changes after it, so that what the
// second statement can't see yet is asked for again the next time.
const (
	registrySnapshot = `SELECT pg_snapshot_xmin(pg_current_snapshot())::text, ` + databaseLife + `, $1::text`
	registryChanges  = `
SELECT id, tenant_id, url, events, filter_agent_ids, filter_conversation_ids, filter_labels,
       enabled, deleted_at IS NOT NULL, max_in_flight, coalesce(rate_limit, 0), ordering = 'strict',
       signing_secret, coalesce(signing_secret_prev, ''), coalesce(signing_secret_prev_until, 'epoch'), changed_xid::text
FROM fanmail.webhooks WHERE changed_xid >= CASE WHEN ` + databaseLife + ` = $2 THEN $1 ELSE '0' END::text::xid8`
)

// Queue adds the registry's two statements to a batch; read their results with
// [Registry.Read], in turn. Inside a transaction this makes the registry at
// least as new as the transaction's snapshot.
func (r *Registry) Queue(b *pgx.Batch) {
	r.mu.RLock()
	since, life := r.since, r.life
	r.mu.RUnlock()
	b.Queue(registrySnapshot, life)
	b.Queue(registryChanges, strconv.FormatUint(since, 10), life)
}

// Read applies the results of the statements that [Registry.Queue] queued.
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
	changed, err := pgx.CollectRows(rows, scanEntry)
	if err != nil {
		return fmt.Errorf("read changed webhooks: %w", err)
	}
	return r.apply(known, life, since, changed)
}

func scanEntry(row pgx.CollectableRow) (*Entry, error) {
	e := &Entry{}
	var xid string
	err := row.Scan(&e.ID, &e.TenantID, &e.URL, &e.Events, &e.Filters.AgentIDs, &e.Filters.ConversationIDs, &e.Filters.Labels,
		&e.Enabled, &e.Deleted, &e.MaxInFlight, &e.RateLimit, &e.Strict, &e.secret, &e.prev, &e.prevUntil, &xid)
	if err != nil {
		return nil, err
	}
	e.xid, err = strconv.ParseUint(xid, 10, 64)
	return e, err
}

// apply takes in what changed since the life and the transaction that were
// known when it was asked for.
func (r *Registry) apply(known, life string, since uint64, changed []*Entry) error {
	var news []*Entry
	r.mu.Lock()
	switch {
	case life == r.life:
		r.since = max(r.since, since) // of two reads at once the older can come later
	case known == r.life: // these are all
		r.life, r.since = life, since
		clear(r.byID)
		clear(r.byTenant)
	default:
		r.mu.Unlock()
		return errors.New("the database went down meanwhile; what it said of the webhooks may be out of date")
	}
	for _, e := range changed {
		old := r.byID[e.ID]
		if old != nil && (old.xid > e.xid || old.xid == e.xid && old.same(e)) {
			continue
		}
		r.byID[e.ID] = e
		if old != nil {
			r.unlist(old)
		}
		if e.Enabled && !e.Deleted {
			r.byTenant[e.TenantID] = append(slices.Clip(r.byTenant[e.TenantID]), e)
		}
		news = append(news, e)
	}
	watchers := r.watchers
	r.mu.Unlock()
	for _, e := range news {
		for _, f := range watchers {
			f(e)
		}
	}
	return nil
}

// same compares what one transaction may have changed in two steps.
func (e *Entry) same(o *Entry) bool {
	return e.Enabled == o.Enabled && e.Deleted == o.Deleted && e.secret == o.secret && e.URL == o.URL
}

func (r *Registry) unlist(e *Entry) {
	list := slices.DeleteFunc(slices.Clone(r.byTenant[e.TenantID]), func(o *Entry) bool { return o.ID == e.ID })
	if len(list) == 0 {
		delete(r.byTenant, e.TenantID)
		return
	}
	r.byTenant[e.TenantID] = list
}

// Get returns a webhook, also a disabled or deleted one, or nil.
func (r *Registry) Get(id events.WebhookID) *Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byID[id]
}

// Match appends the enabled webhooks of the event's tenant that want the event.
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

// Run keeps the registry fresh until ctx ends: at every hint, and every second.
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
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-hints:
		}
		err := r.Load(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			r.log.Warn("webhooks can't be read; going on with what is known", zap.Error(err))
		}
		failing = err != nil
	}
}
