package operator_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/operator"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// system is two dispatchers and a publisher on a database and a broker with the accounts of production.
type system struct {
	t       *testing.T
	pool    *pgxpool.Pool
	url     string
	sink    *sink.Sink
	as      func(user string) (*nats.Conn, jetstream.JetStream)
	brokers map[string]*nats.Conn // of the dispatchers, by their names
}

// hostile is a tenant's name that a page or a terminal must not obey.
const hostile = "<script>alert(1)</script>\u202e\"&"

func start(t *testing.T) *system {
	t.Helper()
	conf, err := os.ReadFile("../../deploy/nats/accounts.conf")
	require.NoError(t, err)
	broker, _ := natstest.Configured(t, regexp.MustCompile(`\$FANMAIL_NATS_\w+_PASSWORD`).ReplaceAllString(string(conf), "secret"))
	s := &system{t: t, url: pgtest.URL(t), sink: sink.New(t), brokers: map[string]*nats.Conn{}}
	s.pool = pgtest.Open(t, s.url)
	s.as = func(user string) (*nats.Conn, jetstream.JetStream) {
		nc, err := nats.Connect(broker, nats.UserInfo(user, "secret"), nats.CustomInboxPrefix("_INBOX_"+user))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		js, err := stream.Open(nc, "")
		require.NoError(t, err)
		return nc, js
	}
	_, js := s.as("operator")
	require.NoError(t, stream.EnsureAll(t.Context(), js, stream.Options{}))
	nc, js := s.as("publisher")
	s.run(engine.Publisher(engine.Conn{Pool: s.open(), NC: nc, JS: js}, engine.Options{Streams: stream.Options{Role: stream.Publisher, External: true}}))
	for _, name := range []string{"one", "two"} {
		s.dispatcher(name)
	}
	return s
}

func (s *system) open() *pgxpool.Pool {
	pool, err := engine.Pool(s.t.Context(), s.pool, 8)
	require.NoError(s.t, err)
	s.t.Cleanup(pool.Close)
	return pool
}

func (s *system) dispatcher(name string) {
	s.t.Helper()
	nc, js := s.as("dispatcher")
	s.brokers[name] = nc
	d, err := engine.NewDispatcher(s.t.Context(), engine.Conn{Pool: s.open(), NC: nc, JS: js}, engine.Options{
		Name: name, AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Slots: 64, Drain: 5 * time.Second,
		Streams: stream.Options{Role: stream.Dispatcher, External: true},
	})
	require.NoError(s.t, err)
	s.t.Cleanup(d.Close)
	require.NoError(s.t, d.Load(s.t.Context()))
	s.run(d.Parts()...)
}

// run runs parts until the test ends.
func (s *system) run(parts ...engine.Part) {
	for _, p := range parts {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		s.t.Cleanup(func() {
			cancel()
			require.NoError(s.t, <-done)
		})
	}
}

func (s *system) exec(sql string, args ...any) {
	s.t.Helper()
	_, err := s.pool.Exec(s.t.Context(), sql, args...)
	require.NoError(s.t, err)
}

func (s *system) tenant(name string) events.TenantID {
	s.t.Helper()
	id := events.NewRandom[events.TenantKind]()
	s.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, $2)`, id, name)
	return id
}

func (s *system) webhook(tenant events.TenantID, path string) events.WebhookID {
	s.t.Helper()
	id, secret := events.NewRandom[events.WebhookKind](), signature.NewSecret()
	s.sink.Secret(path, secret)
	s.exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) VALUES ($1, $2, $3, '{email.received}', $4)`, id, tenant, s.sink.URL(path), secret)
	return id
}

func (s *system) insert(tenant events.TenantID, agent string, n int) {
	s.t.Helper()
	require.NoError(s.t, pgx.BeginFunc(s.t.Context(), s.pool, func(tx pgx.Tx) error {
		list := make([]events.Event, n)
		for i := range list {
			list[i] = events.Event{TenantID: tenant, Type: events.EmailReceived, AgentID: agent, Data: json.RawMessage(`{"subject":"hello"}`)}
		}
		_, err := outbox.InsertMany(s.t.Context(), tx, list)
		return err
	}))
}

// becomes waits until an answer is as wanted.
func becomes[T any](t *testing.T, read func() (*T, error), cond func(*T) bool) *T {
	t.Helper()
	var got *T
	require.Eventually(t, func() bool {
		var err error
		got, err = read()
		require.NoError(t, err)
		return cond(got)
	}, 90*time.Second, 50*time.Millisecond, "the last answer: %+v", got)
	return got
}

func shared(s *operator.SystemStats) bool {
	return s.Complete && len(s.Dispatchers) == 2 && !slices.ContainsFunc(s.Dispatchers, func(d operator.Dispatcher) bool { return d.Partitions != 16 })
}

// TestOperatorsSeeWhoFloodsAndWhoFailsOnAllDispatchers runs two dispatchers with the users of production.
func TestOperatorsSeeWhoFloodsAndWhoFailsOnAllDispatchers(t *testing.T) {
	t.Parallel()
	s := start(t)
	nc, js := s.as("api")
	v := operator.New(s.pool, nc, js)
	stats := func() (*operator.SystemStats, error) { return v.Stats(t.Context()) }
	top := func(by, order string) func() (*operator.Top, error) {
		return func() (*operator.Top, error) {
			return v.Top(t.Context(), operator.Query{By: by, Order: order, Window: "1m", Limit: 10})
		}
	}
	calm := becomes(t, stats, shared)
	require.Empty(t, calm.Alerts)
	require.Equal(t, "ok", calm.Status)
	require.Nil(t, calm.SuccessRate)
	require.Len(t, calm.Partitions, events.Partitions)

	flood, quiet := s.tenant(hostile), s.tenant("quiet")
	s.sink.Script("/bad", sink.Status(500))
	for _, path := range []string{"/a", "/b", "/c", "/d"} {
		s.webhook(flood, path)
	}
	good, bad := s.webhook(quiet, "/good"), s.webhook(quiet, "/bad")
	s.insert(flood, "robot@example.com", 200)
	s.insert(quiet, "", 20)

	rows := becomes(t, top(activity.ByTenant, activity.OrderRate), func(top *operator.Top) bool {
		return len(top.Data) == 2 && top.Data[0].AttemptsPerSecond > 10 && top.Data[1].EventsPerSecond > 0.2
	})
	require.True(t, rows.Complete)
	require.Empty(t, rows.Silent)
	require.Equal(t, flood.String(), rows.Data[0].ID, "webhooks on both dispatchers count for their tenant")
	require.Equal(t, hostile, rows.Data[0].TenantName)
	require.Equal(t, quiet.String(), rows.Data[1].ID)
	rows = becomes(t, top(activity.ByWebhook, activity.OrderFailures), func(top *operator.Top) bool { return len(top.Data) == 6 && top.Data[0].FailuresPerSecond > 0.15 })
	require.Equal(t, bad.String(), rows.Data[0].ID)
	require.Equal(t, s.sink.URL("/bad"), rows.Data[0].URL)
	require.Zero(t, rows.Data[1].FailuresPerSecond)
	require.True(t, slices.ContainsFunc(rows.Data, func(r operator.TopRow) bool { return r.ID == good.String() && r.TenantID == quiet.String() }))
	rows = becomes(t, top(activity.ByAgent, activity.OrderRate), func(top *operator.Top) bool { return len(top.Data) == 1 })
	require.Equal(t, "robot@example.com", rows.Data[0].ID)
	require.Equal(t, hostile, rows.Data[0].TenantName)

	busy := becomes(t, stats, func(s *operator.SystemStats) bool {
		return s.Breakers.Open == 1 && s.SuccessRate != nil && s.EventsPerSecond > 3
	})
	require.Equal(t, bad.String(), busy.Breakers.List[0].WebhookID)
	require.Less(t, *busy.SuccessRate, 1.0)
	require.NotNil(t, busy.Latency)
	require.NotEmpty(t, busy.History)
	require.True(t, busy.Broker.Connected)
	require.Len(t, busy.Broker.Streams, 5)
	for _, use := range busy.Broker.Streams {
		require.Empty(t, use.Error, "the API's user may look up %s", use.Name)
		require.Positive(t, use.MaxBytes, use.Name)
	}
	require.Positive(t, busy.Database.Bytes)
	require.Positive(t, busy.Database.MaxConnections)
	require.Equal(t, 7, busy.Database.DaysReady)

	behind := s.tenant("behind")
	s.exec(`UPDATE fanmail.webhooks SET rate_limit = 1 WHERE id = $1`, s.webhook(behind, "/behind"))
	s.insert(behind, "", 1000)
	s.insert(behind, "", 500) // more than a lane holds
	rows = becomes(t, top(activity.ByTenant, activity.OrderBacklog), func(top *operator.Top) bool {
		return len(top.Data) == 3 && top.Data[0].Backlog != nil && top.Data[0].Backlog.Pending > 1000
	})
	require.Equal(t, behind.String(), rows.Data[0].ID)
	require.NotNil(t, rows.Data[0].Backlog.Oldest)
	require.Positive(t, becomes(t, stats, func(s *operator.SystemStats) bool { return s.Backlog.WebhooksBehind > 0 }).Backlog.Queued)

	s.brokers["two"].Close() // it lives on: its lease is in the database
	part := becomes(t, stats, func(s *operator.SystemStats) bool { return !s.Complete })
	require.Equal(t, []string{"two"}, part.Silent)
	rows = becomes(t, top(activity.ByTenant, activity.OrderRate), func(top *operator.Top) bool { return !top.Complete })
	require.Equal(t, []string{"two"}, rows.Silent)
	require.NotEmpty(t, rows.Data)
}

// TestWithoutTheBrokerOperatorsSeeWhatTheDatabaseKnows: no dispatcher can be asked.
func TestWithoutTheBrokerOperatorsSeeWhatTheDatabaseKnows(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	ctx := t.Context()
	exec := func(sql string, args ...any) {
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	tenant, hook := events.NewRandom[events.TenantKind](), events.NewRandom[events.WebhookKind]()
	exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'behind')`, tenant)
	exec(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) VALUES ($1, $2, 'https://hooks.example.com/', '{email.received}', '')`, hook, tenant)
	exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now() - make_interval(secs => i), now() + interval '1 day', i, 8, 'email.received' FROM generate_series(1, 300) AS i`, hook, tenant)
	exec(`INSERT INTO fanmail.outbox (tenant_id, event_id, created_at) VALUES ($1, gen_random_uuid(), now() - interval '5 minutes')`, tenant)
	exec(`INSERT INTO fanmail.dispatchers (id, name, alive_until) VALUES (gen_random_uuid(), 'lonely', now() + interval '1 minute')`)
	exec(`INSERT INTO fanmail.processes (id, kind, name, version, components, seen) VALUES
		(gen_random_uuid(), 'publisher', 'p', 'v1', '[]', now() - interval '5 minutes'), (gen_random_uuid(), 'api', 'a', 'v1', '[]', now()), (gen_random_uuid(), 'api', 'b', 'v1', '[]', now() - interval '2 minutes'),
		(gen_random_uuid(), 'ingest', 'i', 'v1', '[{"name":"database","status":"failing","error":"no"}]', now())`)
	v := operator.New(pool, nil, nil)
	s, err := v.Stats(ctx)
	require.NoError(t, err)
	require.False(t, s.Complete)
	require.Equal(t, []string{"lonely"}, s.Silent)
	require.Equal(t, 1, s.Outbox.Waiting)
	require.GreaterOrEqual(t, s.Outbox.OldestSeconds, 300.0)
	require.False(t, s.Broker.Connected)
	var names []string
	for _, a := range s.Alerts {
		names = append(names, a.Severity+" "+a.Name)
	}
	require.Equal(t, []string{"critical FanmailOutboxStuck", "critical FanmailPartitionsUnowned", "critical FanmailNoProcess", "warning FanmailProcessDown", "warning FanmailComponentFailing"}, names)
	require.Equal(t, "critical", s.Status)
	for _, by := range []string{activity.ByTenant, activity.ByWebhook} {
		top, err := v.Top(ctx, operator.Query{By: by, Order: activity.OrderBacklog, Window: "1m", Limit: 5})
		require.NoError(t, err)
		require.False(t, top.Complete)
		require.Len(t, top.Data, 1)
		require.Equal(t, 300, top.Data[0].Backlog.Pending)
		require.Equal(t, "behind", top.Data[0].TenantName)
	}
}
