package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// rig is the chain from the outbox to a receiver, on a database and a broker
// of its own.
type rig struct {
	t      *testing.T
	url    string
	pool   *pgxpool.Pool
	natURL string
	nc     *nats.Conn
	js     jetstream.JetStream
	sink   *sink.Sink
	tenant events.TenantID
	log    *zap.Logger
	drain  time.Duration                                                          // of dispatchers that are stopped
	old    func(context.Context, events.TenantID, []byte) ([]byte, func(), error) // Options.OldEnvelope
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := newRigAt(t, natstest.URL(t))
	require.NoError(t, stream.Ensure(context.Background(), r.js, stream.Options{}))
	return r
}

// newRigAt works with a broker as it is, which may have no streams.
func newRigAt(t *testing.T, broker string) *rig {
	t.Helper()
	r := &rig{t: t, url: pgtest.URL(t), natURL: broker, sink: sink.New(t), log: zaptest.NewLogger(t), drain: 5 * time.Second}
	r.pool = r.open()
	r.nc, r.js = r.connect()
	r.tenant = events.NewRandom[events.TenantKind]()
	r.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, r.tenant)
	return r
}

func (r *rig) open() *pgxpool.Pool {
	pool, err := pg.Open(context.Background(), r.url, 8)
	require.NoError(r.t, err)
	r.t.Cleanup(pool.Close)
	return pool
}

func (r *rig) connect() (*nats.Conn, jetstream.JetStream) {
	nc, err := nats.Connect(r.natURL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(r.t, err)
	r.t.Cleanup(nc.Close)
	js, err := stream.Open(nc, "")
	require.NoError(r.t, err)
	return nc, js
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(context.Background(), sql, args...)
	require.NoError(r.t, err)
}

// webhook registers a webhook to a path of the sink.
func (r *rig) webhook(path string, settings ...func(*subscribers.Webhook)) events.WebhookID {
	r.t.Helper()
	w := subscribers.Webhook{
		ID: events.NewRandom[events.WebhookKind](), TenantID: r.tenant, URL: r.sink.URL(path),
		Events: []events.Type{events.EmailReceived}, MaxInFlight: 32, Ordering: subscribers.OrderingNone, Enabled: true,
	}
	for _, f := range settings {
		f(&w)
	}
	secret := signature.NewSecret()
	r.sink.Secret(path, secret)
	r.exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, filter_agent_ids, filter_conversation_ids, filter_labels, enabled, max_in_flight, rate_limit, ordering, signing_secret)
		VALUES ($1, $2, $3, $4, coalesce($5, '{}'::text[]), coalesce($6, '{}'::text[]), coalesce($7, '{}'::text[]), $8, $9, nullif($10, 0), $11, $12)`,
		w.ID, w.TenantID, w.URL, w.Events, w.Filters.AgentIDs, w.Filters.ConversationIDs, w.Filters.Labels, w.Enabled, w.MaxInFlight, w.RateLimit, w.Ordering, secret)
	return w.ID
}

// insert puts n events into the outbox, each with its number in the data.
func (r *rig) insert(n int, settings ...func(int, *events.Event)) []events.ID {
	r.t.Helper()
	var ids []events.ID
	require.NoError(r.t, pgx.BeginFunc(context.Background(), r.pool, func(tx pgx.Tx) error {
		for len(ids) < n {
			var evs []events.Event
			for i := 0; i < min(outbox.MaxInsert, n-len(ids)); i++ {
				ev := events.Event{TenantID: r.tenant, Type: events.EmailReceived, Data: json.RawMessage(`{"subject":"hello"}`)}
				for _, f := range settings {
					f(len(ids)+i, &ev)
				}
				evs = append(evs, ev)
			}
			done, err := outbox.InsertMany(context.Background(), tx, evs)
			if err != nil {
				return err
			}
			for _, d := range done {
				ids = append(ids, d.ID)
			}
		}
		return nil
	}))
	outbox.Wake(r.nc)
	return ids
}

// run starts f under a context that stop ends; stop waits for it.
func (r *rig) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(r.t, <-done)
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) relay() (stop func()) {
	return r.run(relay.New(r.pool, r.nc, r.js, relay.Options{Log: r.log}).Run)
}

// dispatcher starts fan-out and dispatch with connections of their own, as a
// replica runs them.
func (r *rig) dispatcher() (stop func()) {
	_, stop = r.replica(true)
	return stop
}

// replica does the same; unless fed, every delivery travels through the broker.
func (r *rig) replica(fed bool) (d *dispatch.Dispatcher, stop func()) {
	r.t.Helper()
	return r.replicaOf(fanout.Options{}, fed)
}

func (r *rig) replicaOf(o fanout.Options, fed bool) (d *dispatch.Dispatcher, stop func()) {
	r.t.Helper()
	pool := r.open()
	nc, js := r.connect()
	registry := subscribers.NewRegistry(pool, nc, r.log)
	require.NoError(r.t, registry.Load(context.Background()))
	d, err := dispatch.New(pool, nc, js, registry, dispatch.Options{
		Name: "test", AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Drain: r.drain, Log: r.log,
		OldEnvelope: r.old,
	})
	require.NoError(r.t, err)
	o.Log = r.log
	if fed {
		o.Lanes = d
	}
	stops := []func(){r.run(fanout.New(pool, js, registry, o).Run), r.run(d.Run), r.run(registry.Run)}
	return d, func() {
		for _, s := range stops {
			s()
		}
	}
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

// statuses counts the delivery rows by status.
func (r *rig) statuses() map[string]int {
	rows, err := r.pool.Query(context.Background(), `SELECT status, count(*)::int FROM fanmail.webhook_subscriber_deliveries GROUP BY status`)
	require.NoError(r.t, err)
	got := map[string]int{}
	var status string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&status, &n}, func() error { got[status] = n; return nil })
	require.NoError(r.t, err)
	return got
}

// settles waits until the rows stand as wanted.
func (r *rig) settles(want map[string]int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		got := r.statuses()
		if len(got) != len(want) {
			return false
		}
		for k, n := range want {
			if got[k] != n {
				return false
			}
		}
		return true
	}, 3*time.Minute, 20*time.Millisecond, "want %v, have %v", want, r.statuses())
}

// makeDue makes every pending row due now and tells the owners.
func (r *rig) makeDue(w events.WebhookID) {
	r.t.Helper()
	r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE webhook_id = $1 AND status = 'pending'`, w)
	r.wake(w)
}

func (r *rig) wake(w events.WebhookID) {
	require.NoError(r.t, r.nc.Publish(events.WakeLanePrefix+"x", []byte(w.String())))
}

// set changes a webhook as the API does: the row, then the hint.
func (r *rig) set(w events.WebhookID, assignment string, args ...any) {
	r.t.Helper()
	r.exec(`UPDATE fanmail.webhooks SET `+assignment+` WHERE id = $1`, append([]any{w}, args...)...)
	require.NoError(r.t, r.nc.Publish(events.WakeWebhooks, nil))
}

// row is what the tests look at of a delivery.
type row struct {
	Status    string
	Attempts  int
	Code      *int
	Error     *string
	NextIn    *float64 // seconds from the last attempt to the next
	Finished  bool
	Disabled  bool
	Delivered bool // the webhook has a last_delivered_at
}

func (r *rig) rowOf(w events.WebhookID) row {
	r.t.Helper()
	var v row
	err := r.pool.QueryRow(context.Background(), `
		SELECT d.status, d.attempts, d.last_status_code, d.last_error, extract(epoch FROM d.next_retry_at - d.last_attempt_at)::float8,
		       d.finished_at IS NOT NULL, NOT w.enabled, w.last_delivered_at IS NOT NULL
		FROM fanmail.webhook_subscriber_deliveries AS d JOIN fanmail.webhooks AS w ON w.id = d.webhook_id WHERE w.id = $1`, w).
		Scan(&v.Status, &v.Attempts, &v.Code, &v.Error, &v.NextIn, &v.Finished, &v.Disabled, &v.Delivered)
	if !errors.Is(err, pgx.ErrNoRows) { // it is not fanned out yet
		require.NoError(r.t, err)
	}
	return v
}

// until waits until the webhook's only delivery is as wanted.
func (r *rig) until(w events.WebhookID, cond func(row) bool) row {
	r.t.Helper()
	var v row
	require.Eventually(r.t, func() bool { v = r.rowOf(w); return cond(v) }, 60*time.Second, 10*time.Millisecond)
	return v
}

// inserted waits until n delivery rows exist.
func (r *rig) inserted(n int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		total := 0
		for _, c := range r.statuses() {
			total += c
		}
		return total == n
	}, 60*time.Second, 10*time.Millisecond)
}
