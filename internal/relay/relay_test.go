package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func newTenant(t *testing.T, pool *pgxpool.Pool) events.TenantID {
	t.Helper()
	id := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(context.Background(), `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, id)
	require.NoError(t, err)
	return id
}

func insert(t *testing.T, pool *pgxpool.Pool, evs ...events.Event) []outbox.Inserted {
	t.Helper()
	var done []outbox.Inserted
	require.NoError(t, pgx.BeginFunc(context.Background(), pool, func(tx pgx.Tx) (err error) {
		done, err = outbox.InsertMany(context.Background(), tx, evs)
		return err
	}))
	return done
}

func start(t *testing.T, pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.New(pool, nc, js, relay.Options{Log: zaptest.NewLogger(t)}).Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	return stop
}

// read gives the first n messages of the event stream.
func read(t *testing.T, js jetstream.JetStream, n int) []jetstream.Msg {
	t.Helper()
	c, err := js.OrderedConsumer(context.Background(), stream.Events, jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	var msgs []jetstream.Msg
	for len(msgs) < n {
		batch, err := c.Fetch(n-len(msgs), jetstream.FetchMaxWait(30*time.Second))
		require.NoError(t, err)
		before := len(msgs)
		for m := range batch.Messages() {
			msgs = append(msgs, m)
		}
		require.NoError(t, batch.Error())
		require.Greater(t, len(msgs), before, "the stream has %d of %d messages", before, n)
	}
	return msgs
}

func numbered(ten events.TenantID, from, n int) []events.Event {
	var evs []events.Event
	for i := range n {
		evs = append(evs, events.Event{
			TenantID: ten, Type: events.EmailReceived, AgentID: "a@example.com", Labels: []string{" edge ", "plain"},
			Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, from+i)),
		})
	}
	return evs
}

// eachStream runs a test on the event stream of one server, and on one that
// takes atomic batches as replicated streams do.
func eachStream(t *testing.T, test func(*testing.T, *nats.Conn, jetstream.JetStream)) {
	t.Helper()
	t.Parallel()
	for name, replicas := range map[string]int{"singly": 1, "atomic batches": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc, js := natstest.Connect(t)
			config := stream.Configs(stream.Options{Replicas: replicas})[0]
			config.Replicas = 1
			require.NoError(t, js.DeleteStream(t.Context(), stream.Events))
			_, err := js.CreateStream(t.Context(), config)
			require.NoError(t, err)
			test(t, nc, js)
		})
	}
}

func TestTheRelayPublishesInOrderAndLeavesTheRows(t *testing.T) { eachStream(t, testOrder) }

func testOrder(t *testing.T, nc *nats.Conn, js jetstream.JetStream) {
	pool := pgtest.Pool(t)
	ten := newTenant(t, pool)
	start(t, pool, nc, js)
	var want []string
	for _, n := range []int{1, 3, 700, 900} {
		for _, d := range insert(t, pool, numbered(ten, len(want), n)...) {
			want = append(want, d.ID.String())
		}
		outbox.Wake(nc)
	}
	msgs := read(t, js, len(want))
	for i, m := range msgs {
		require.Equal(t, want[i], m.Headers().Get(jetstream.MsgIDHeader), "message %d", i)
		require.Equal(t, "mail.events."+ten.String()+".email.received", m.Subject())
		env, err := events.DecodeEnvelope(m.Data())
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, i), string(env.Data))
		require.Equal(t, []string{"%20edge%20", "plain"}, m.Headers()[stream.HeaderLabel])
	}
	var rows int
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.outbox WHERE leased_until > now() + interval '20 seconds' AND publishes = 1`).Scan(&rows))
	require.Equal(t, len(want), rows, "leased and left for the fan-out")
}

func TestAnEventWhoseLeaseRanOutIsPublishedAgainUnderAnotherID(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	ten := newTenant(t, pool)
	start(t, pool, nc, js)
	done := insert(t, pool, numbered(ten, 0, 20)...)
	read(t, js, 20)
	_, err := pool.Exec(ctx, `UPDATE fanmail.outbox SET leased_until = now()`)
	require.NoError(t, err)
	msgs := read(t, js, 40)
	for i, m := range msgs[20:] {
		require.Equal(t, done[i].ID.String()+":2", m.Headers().Get(jetstream.MsgIDHeader), "or the broker would drop it as a duplicate")
		require.Equal(t, done[i].ID.String(), m.Headers().Get(stream.HeaderEvent))
	}
	var doubled bool
	require.NoError(t, pool.QueryRow(ctx, `SELECT min(leased_until) > now() + interval '50 seconds' FROM fanmail.outbox`).Scan(&doubled))
	require.True(t, doubled, "each turn's lease is twice the one before")
}

// TestEventsOfAnyDayArePublished has the relay publish what has waited since
// long, and leave out what is no longer kept.
func TestEventsOfAnyDayArePublished(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	ten := newTenant(t, pool)
	_, err := pool.Exec(ctx, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 6, 9)`)
	require.NoError(t, err)
	done := insert(t, pool, numbered(ten, 0, 6)...)
	for i, days := range []int{0, 1, 2, 5, -1} { // a database's clock may be ahead
		_, err := pool.Exec(ctx, `WITH moved AS (
				UPDATE fanmail.events SET created_at = created_at - make_interval(days => $2) WHERE id = $1 RETURNING id, created_at
			) UPDATE fanmail.outbox AS o SET created_at = m.created_at FROM moved AS m WHERE o.event_id = m.id`, done[i].ID, days)
		require.NoError(t, err)
	}
	_, err = pool.Exec(ctx, `DELETE FROM fanmail.events WHERE id = $1`, done[5].ID)
	require.NoError(t, err)
	start(t, pool, nc, js)
	for i, m := range read(t, js, 5) {
		require.Equal(t, done[i].ID.String(), m.Headers().Get(stream.HeaderEvent))
		env, err := events.DecodeEnvelope(m.Data())
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, i), string(env.Data))
		require.Equal(t, []string{"%20edge%20", "plain"}, m.Headers()[stream.HeaderLabel])
	}
	var leased int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.outbox WHERE publishes = 1 AND leased_until > now()`).Scan(&leased))
	require.Equal(t, 6, leased)
}

func TestManyRelaysPublishEachEventOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	ten := newTenant(t, pool)
	for range 4 {
		start(t, pool, nc, js)
	}
	const n = 3000
	for i := 0; i < n; i += 500 {
		insert(t, pool, numbered(ten, i, 500)...)
	}
	seen := map[string]bool{}
	for _, m := range read(t, js, n) {
		id := m.Headers().Get(jetstream.MsgIDHeader)
		require.False(t, seen[id])
		require.NotContains(t, id, ":")
		seen[id] = true
	}
	info, err := js.Stream(context.Background(), stream.Events)
	require.NoError(t, err)
	require.Equal(t, uint64(n), info.CachedInfo().State.Msgs)
}

func TestADuplicateInABatchDoesNotHoldUpTheOthers(t *testing.T) { eachStream(t, testDuplicate) }

func testDuplicate(t *testing.T, nc *nats.Conn, js jetstream.JetStream) {
	ctx := context.Background()
	pool := pgtest.Pool(t)
	ten := newTenant(t, pool)
	done := insert(t, pool, numbered(ten, 0, 50)...)
	// A relay published this one, and died before its lease was committed.
	h := nats.Header{jetstream.MsgIDHeader: {done[25].ID.String()}}
	_, err := js.PublishMsg(ctx, &nats.Msg{Subject: events.EventSubject(ten, events.EmailReceived), Header: h, Data: []byte("{}")})
	require.NoError(t, err)
	start(t, pool, nc, js)
	var ids []string
	for _, m := range read(t, js, 50) {
		ids = append(ids, m.Headers().Get(jetstream.MsgIDHeader))
	}
	for _, d := range done {
		require.True(t, slices.Contains(ids, d.ID.String()))
	}
}

func TestTheRelayWaitsOutABrokerWithoutStreams(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	ten := newTenant(t, pool)
	require.NoError(t, js.DeleteStream(ctx, stream.Events))
	start(t, pool, nc, js)
	insert(t, pool, numbered(ten, 0, 30)...)
	require.Eventually(t, func() bool { _, err := js.Stream(ctx, stream.Events); return err == nil }, 60*time.Second, 20*time.Millisecond)
	require.Len(t, read(t, js, 30), 30)
}
