package counts_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

const (
	warmUp    = 300
	measured  = 1000
	webhooks  = 10
	textBytes = 1800 // of an event, which makes an envelope of about 2 KB
)

// chain is a publisher and a dispatcher in this process, on a Postgres of their
// own: the WAL is shared by all clients of a server.
type chain struct {
	t      *testing.T
	trips  *trips
	url    string
	pool   *pgxpool.Pool // the test's own, not counted
	engine []*pgxpool.Pool
	nc     *nats.Conn
	js     jetstream.JetStream
	sink   *sink.Sink
	tenant events.TenantID
	stops  []func()
	sent   int // deliveries
	events int
	// dispatched are the dispatcher's metrics.
	dispatched *prometheus.Registry
}

// start starts the chain. fed: the fan-out hands deliveries to the dispatcher in
// memory. Otherwise they travel through the broker, as those of other replicas.
func start(t *testing.T, fed bool) *chain {
	t.Helper()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "fanmail-counts-") //nolint:usetesting // Postgres's user cannot enter t.TempDir
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	server, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir, Fast: true, Settings: map[string]string{"autovacuum": "off"}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	c := &chain{t: t, trips: &trips{}, tenant: events.NewRandom[events.TenantKind](), dispatched: prometheus.NewRegistry()}
	c.url = server.URL("postgres")
	c.pool, err = pgxpool.New(ctx, c.url)
	require.NoError(t, err)
	t.Cleanup(c.pool.Close)
	require.NoError(t, migrations.Up(ctx, c.pool))
	c.nc, c.js = natstest.Connect(t)
	c.sink, err = sink.Start(sink.Options{Keep: sink.KeepCounts})
	require.NoError(t, err)
	t.Cleanup(c.sink.Close)
	c.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, c.tenant)
	for i := range webhooks {
		c.exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, filter_agent_ids, signing_secret) VALUES ($1, $2, $3, '{email.received}', $4, $5)`,
			events.NewRandom[events.WebhookKind](), c.tenant, c.sink.URL(fmt.Sprintf("/%d", i)), []string{agent(i), everybody}, signature.NewSecret())
	}
	relay := relay.New(c.counted(), c.nc, c.js, relay.Options{})
	pool := c.counted()
	registry := subscribers.NewRegistry(pool, c.nc, nop)
	require.NoError(t, registry.Load(ctx))
	d, err := dispatch.New(pool, c.nc, c.js, registry, dispatch.Options{
		Name: "test", AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Drain: 5 * time.Second, Registerer: c.dispatched,
	})
	require.NoError(t, err)
	var o fanout.Options
	if fed {
		o.Lanes = d
	}
	f := fanout.New(pool, c.js, registry, o)
	for _, run := range []func(context.Context) error{relay.Run, registry.Run, f.Run, d.Run} {
		c.run(run)
	}
	t.Cleanup(c.stop)
	// Before the dispatcher receives a partition's messages, it would fetch the
	// partition's rows again, because another owner may have had them.
	require.Eventually(t, func() bool { return d.Ready() == nil }, time.Minute, 5*time.Millisecond)
	return c
}

// everybody is an agent whose events match all webhooks.
const everybody = "everybody@example.com"

// agent is the agent whose events match the i-th webhook only.
func agent(i int) string { return fmt.Sprintf("agent%d@example.com", i%webhooks) }

// counted opens a pool of the engine. Its round trips are counted.
func (c *chain) counted() *pgxpool.Pool {
	cfg, err := pgxpool.ParseConfig(c.url)
	require.NoError(c.t, err)
	cfg.MaxConns = 8
	pg.Configure(cfg)
	cfg.ConnConfig.Tracer = c.trips
	pool, err := pgxpool.NewWithConfig(c.t.Context(), cfg)
	require.NoError(c.t, err)
	c.engine = append(c.engine, pool)
	return pool
}

func (c *chain) exec(sql string, args ...any) {
	c.t.Helper()
	_, err := c.pool.Exec(context.WithoutCancel(c.t.Context()), sql, args...)
	require.NoError(c.t, err)
}

func (c *chain) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	c.stops = append(c.stops, func() {
		cancel()
		require.NoError(c.t, <-done)
	})
}

// stop stops the engine and closes its connections. Postgres's counts are
// complete afterwards.
func (c *chain) stop() {
	for _, s := range c.stops {
		s()
	}
	for _, p := range c.engine {
		p.Close()
	}
	c.stops, c.engine = nil, nil
}

// deliver inserts events that make n deliveries, in one transaction, and waits
// until each outcome is recorded. wide: each event matches all webhooks.
// Otherwise each event matches one webhook, in turn.
func (c *chain) deliver(n int, wide bool) {
	c.t.Helper()
	ctx := c.t.Context()
	evs := make([]events.Event, n)
	if wide {
		evs = evs[:n/webhooks]
	}
	for i := range evs {
		to := agent(i)
		if wide {
			to = everybody
		}
		data, err := json.Marshal(map[string]string{"subject": "hello", "text": strings.Repeat("x", textBytes)})
		require.NoError(c.t, err)
		evs[i] = events.Event{TenantID: c.tenant, Type: events.EmailReceived, AgentID: to, Data: data}
	}
	require.NoError(c.t, pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		_, err := outbox.InsertMany(ctx, tx, evs)
		return err
	}))
	outbox.Wake(c.nc)
	c.events += len(evs)
	c.sent += n
	require.Eventually(c.t, func() bool {
		var done int
		err := c.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'delivered'`).Scan(&done)
		return err == nil && done == c.sent
	}, 3*time.Minute, 50*time.Millisecond)
	require.Equal(c.t, c.sent, c.sink.Count(), "each delivery arrived once")
}

// reading holds the counts so far, except for rows; see rows.
type reading struct {
	at               time.Time
	trips            int64
	transactions     int64 // that write
	wal              int64
	messages, copies int64 // in the streams of events and of deliveries
	allocs, bytes    uint64
	// released counts the rows that lanes released to the table or fetched from
	// it.
	released int64
}

func (c *chain) read() reading {
	c.t.Helper()
	ctx := c.t.Context()
	r := reading{at: time.Now(), trips: c.trips.n.Load()}
	require.NoError(c.t, c.pool.QueryRow(ctx, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint`).
		Scan(&r.transactions, &r.wal))
	for name, n := range map[string]*int64{stream.Events: &r.messages, stream.Deliveries: &r.copies} {
		s, err := c.js.Stream(ctx, name)
		require.NoError(c.t, err)
		*n = int64(s.CachedInfo().State.LastSeq)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.allocs, r.bytes = m.Mallocs, m.TotalAlloc
	families, err := c.dispatched.Gather()
	require.NoError(c.t, err)
	found := 0
	for _, f := range families {
		if name := f.GetName(); name == "fanmail_dispatch_released_total" || name == "fanmail_dispatch_fetched_total" {
			found++
			r.released += int64(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	require.Equal(c.t, 2, found)
	return r
}

// rows returns the rows written since the start, by table and kind. The engine
// must have stopped: a connection reports its counts when it ends. It closes the
// test's pool.
func (c *chain) rows() map[string]int {
	c.t.Helper()
	ctx := context.WithoutCancel(c.t.Context())
	c.pool.Close()
	conn, err := pgx.Connect(ctx, c.url)
	require.NoError(c.t, err)
	defer func() { _ = conn.Close(ctx) }()
	require.Eventually(c.t, func() bool {
		var others int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`).Scan(&others)
		return err == nil && others == 0
	}, time.Minute, 20*time.Millisecond)
	rows, err := conn.Query(ctx, `
SELECT regexp_replace(relname, '_[0-9]+$', '') AS name, sum(n_tup_ins)::int, sum(n_tup_upd)::int, sum(n_tup_del)::int
FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 GROUP BY 1`)
	require.NoError(c.t, err)
	out := map[string]int{}
	var name string
	var inserted, updated, deleted int
	_, err = pgx.ForEachRow(rows, []any{&name, &inserted, &updated, &deleted}, func() error {
		out[name+" inserted"], out[name+" updated"], out[name+" deleted"] = inserted, updated, deleted
		return nil
	})
	require.NoError(c.t, err)
	return out
}
