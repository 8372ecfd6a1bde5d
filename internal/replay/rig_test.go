package replay_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// patience is how long tests wait for a condition.
const patience = 90 * time.Second

// rig has a relay, a fan-out, a dispatcher and a receiver on a private database and
// broker. Tests start and stop the replay runners.
type rig struct {
	t        *testing.T
	url      string
	pool     *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	sink     *sink.Sink
	registry *subscribers.Registry
	hooks    *subscribers.Store
	replays  *replay.Store
	tenant   events.TenantID
}

func newRig(t *testing.T) *rig {
	t.Helper()
	ctx := context.Background()
	r := &rig{t: t, url: pgtest.URL(t), sink: sink.New(t), tenant: events.NewRandom[events.TenantKind]()}
	var err error
	r.pool, err = pg.Open(ctx, r.url, 12)
	require.NoError(t, err)
	t.Cleanup(r.pool.Close)
	r.nc, r.js = natstest.Connect(t)
	log := zaptest.NewLogger(t)
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	r.hooks = subscribers.NewStore(r.pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: local})
	r.replays = replay.NewStore(r.pool)
	r.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, r.tenant)
	r.registry = subscribers.NewRegistry(r.pool, r.nc, log)
	require.NoError(t, r.registry.Load(ctx))
	d, err := dispatch.New(r.pool, r.nc, r.js, r.registry, dispatch.Options{Name: "test", AllowHTTP: true, AllowNetworks: local, Drain: 5 * time.Second, Log: log})
	require.NoError(t, err)
	r.run(r.registry.Run)
	r.run(d.Run)
	r.run(fanout.New(r.pool, r.js, r.registry, fanout.Options{Log: log, Lanes: d}).Run)
	r.run(relay.New(r.pool, r.nc, r.js, relay.Options{Log: log}).Run)
	return r
}

// run starts f with a context. stop cancels the context and waits for f.
func (r *rig) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(r.t, <-done)
		}
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) runner(o replay.Options) (stop func()) {
	o.Log = zaptest.NewLogger(r.t)
	if o.Rate == 0 {
		o.Rate = 5000
	}
	if o.StepInterval == 0 {
		o.StepInterval = 10 * time.Millisecond
	}
	return r.run(replay.NewRunner(r.pool, r.nc, r.js, r.registry, o).Run)
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(context.Background(), sql, args...)
	require.NoError(r.t, err)
}

func (r *rig) count(sql string, args ...any) (n int) {
	r.t.Helper()
	require.NoError(r.t, r.pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}

func (r *rig) webhook(path string, settings ...func(*subscribers.Webhook)) events.WebhookID {
	r.t.Helper()
	w := subscribers.Webhook{URL: r.sink.URL(path), Events: []events.Type{events.EmailReceived}, Enabled: true}
	for _, f := range settings {
		f(&w)
	}
	made, secret, err := r.hooks.Create(context.Background(), r.tenant, w)
	require.NoError(r.t, err)
	r.sink.Secret(path, secret)
	return made.ID
}

func (r *rig) enable(w events.WebhookID, on bool) {
	r.t.Helper()
	_, err := r.hooks.Update(context.Background(), r.tenant, w, subscribers.Patch{Enabled: &on})
	require.NoError(r.t, err)
	require.NoError(r.t, r.registry.Load(context.Background()))
}

// insert inserts n events into the outbox and waits until they are fanned out.
func (r *rig) insert(n int, settings ...func(int, *events.Event)) []events.ID {
	r.t.Helper()
	ids := make([]events.ID, 0, n)
	for len(ids) < n {
		evs := make([]events.Event, min(200, n-len(ids)))
		for i := range evs {
			evs[i] = events.Event{TenantID: r.tenant, Type: events.EmailReceived, Data: json.RawMessage(`{"subject":"hello"}`)}
			for _, f := range settings {
				f(len(ids)+i, &evs[i])
			}
		}
		require.NoError(r.t, pgx.BeginFunc(context.Background(), r.pool, func(tx pgx.Tx) error {
			done, err := outbox.InsertMany(context.Background(), tx, evs)
			for _, d := range done {
				ids = append(ids, d.ID)
			}
			return err
		}))
	}
	outbox.Wake(r.nc)
	require.Eventually(r.t, func() bool { return r.count(`SELECT count(*) FROM fanmail.outbox`) == 0 }, patience, 10*time.Millisecond)
	return ids
}

// streamed inserts events one by one until the stream has taken one of them, and returns them. A broker that is busy, with
// the deletion of a stream or beside other tests, may acknowledge nothing for seconds; events then go past it, and are in
// the table alone.
func (r *rig) streamed() (ids []events.ID) {
	r.t.Helper()
	last := func() (uint64, bool) {
		s, err := r.js.Stream(context.Background(), stream.Events)
		if err != nil {
			return 0, false
		}
		return s.CachedInfo().State.LastSeq, true
	}
	var before uint64
	require.Eventually(r.t, func() (ok bool) { before, ok = last(); return ok }, patience, 20*time.Millisecond, "the broker answers")
	require.Eventually(r.t, func() bool {
		ids = append(ids, r.insert(1)...)
		now, ok := last()
		return ok && now > before
	}, patience, 20*time.Millisecond, "the stream takes an event")
	return ids
}

// create creates a replay; by default of the last hour, in mode missed.
func (r *rig) create(q replay.Request) replay.Replay {
	r.t.Helper()
	if q.Since.IsZero() {
		q.Since = time.Now().Add(-time.Hour)
	}
	if q.Mode == "" {
		q.Mode = replay.Missed
	}
	made, err := r.replays.Create(context.Background(), r.tenant, q)
	require.NoError(r.t, err)
	require.NoError(r.t, r.nc.Publish(events.WakeReplays, nil))
	return made
}

func (r *rig) get(id events.ReplayID) replay.Replay {
	r.t.Helper()
	got, err := r.replays.Get(context.Background(), r.tenant, id)
	require.NoError(r.t, err)
	return got
}

// waitFor waits until a replay is in an end state, and checks that no rows are left.
func (r *rig) waitFor(id events.ReplayID, state replay.State) replay.Replay {
	r.t.Helper()
	var got replay.Replay
	require.Eventually(r.t, func() bool { got = r.get(id); return got.State == state }, patience, 20*time.Millisecond, "%+v", &got)
	require.NotNil(r.t, got.FinishedAt)
	require.False(r.t, got.Reading)
	require.Zero(r.t, r.count(`SELECT count(*) FROM fanmail.replay_deliveries WHERE replay_id = $1`, id))
	return got
}

// arrived returns the events that a path received, in order of arrival.
func (r *rig) arrived(path string) []events.ID {
	r.t.Helper()
	var out []events.ID
	for _, p := range r.sink.PostsTo(path) {
		id, err := events.ParseID(p.EventID)
		require.NoError(r.t, err)
		require.NoError(r.t, p.VerifyErr)
		out = append(out, id)
	}
	return out
}

// purge deletes the first n messages of the stream.
func (r *rig) purge(n int) {
	r.t.Helper()
	s, err := r.js.Stream(context.Background(), stream.Events)
	require.NoError(r.t, err)
	require.NoError(r.t, s.Purge(context.Background(), jetstream.WithPurgeSequence(uint64(n+1))))
}

// skew is the largest difference of the clocks that the tests expect.
const skew = 20 * time.Millisecond

// wait waits until the database's clock has advanced by d.
func (r *rig) wait(d time.Duration) {
	r.t.Helper()
	var from time.Time
	require.NoError(r.t, r.pool.QueryRow(context.Background(), `SELECT clock_timestamp()`).Scan(&from))
	require.Eventually(r.t, func() bool {
		var past bool
		err := r.pool.QueryRow(context.Background(), `SELECT clock_timestamp() > $1`, from.Add(d)).Scan(&past)
		return err == nil && past
	}, patience, time.Millisecond)
}
