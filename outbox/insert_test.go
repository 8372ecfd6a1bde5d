package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func tenant(t *testing.T, pool *pgxpool.Pool, strict bool) events.TenantID {
	t.Helper()
	id := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(context.Background(), `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, id)
	require.NoError(t, err)
	if strict {
		require.NoError(t, outbox.MarkStrict(context.Background(), pool, id))
	}
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

func TestInsertWritesTheEnvelopeOnceWithTheDatabasesTime(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	ev := events.Event{
		TenantID: ten, Type: events.EmailReceived, AgentID: "a@example.com", ConversationID: "c1",
		Labels: []string{"vip", "two words"}, MessageID: "m1",
		Data: json.RawMessage(`{ "z":1, "a" : "<ü & \u003c>" , "n": 12345678901234567890 }`),
	}
	done := insert(t, pool, ev)
	require.Len(t, done, 1)
	require.True(t, done[0].New)

	var envelope []byte
	var created time.Time
	var labels []string
	require.NoError(t, pool.QueryRow(ctx, `SELECT envelope, created_at, labels FROM fanmail.events WHERE id = $1`, done[0].ID).Scan(&envelope, &created, &labels))
	require.Equal(t, ev.Labels, labels)
	require.True(t, created.Equal(done[0].CreatedAt))
	want := fmt.Sprintf(`{"type":"email.received","id":"%s","created_at":"%s","schema_version":"1","data":{"z":1,"a":"<ü & \u003c>","n":12345678901234567890}}`,
		done[0].ID, created.UTC().Format(events.TimeLayout))
	require.Equal(t, want, string(envelope))
	env, err := events.DecodeEnvelope(envelope)
	require.NoError(t, err)
	require.True(t, env.CreatedAt.Equal(created))

	var rows int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.outbox WHERE event_id = $1 AND tenant_id = $2`, done[0].ID, ten).Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestInsertOfOneKeyManyTimesAtOnceIsOneEvent(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	ev := events.Event{TenantID: ten, Type: events.EmailReceived, Data: json.RawMessage(`{}`), IdempotencyKey: "same"}
	other := ev
	other.Type = events.EmailSent
	const callers = 16
	var wg sync.WaitGroup
	done := make([][]outbox.Inserted, callers)
	for i := range callers {
		wg.Go(func() { done[i] = insert(t, pool, ev, other, ev) })
	}
	wg.Wait()
	fresh := 0
	for _, d := range done {
		require.Equal(t, done[0][0].ID, d[0].ID)
		require.Equal(t, d[0].ID, d[2].ID)
		require.NotEqual(t, d[0].ID, d[1].ID, "the type is part of the identity")
		if d[0].New {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	var n int
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.outbox`).Scan(&n))
	require.Equal(t, 2, n)
}

func TestInsertWorksInEveryQueryMode(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	one := tenant(t, pgtest.Open(t, url), true)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		cfg, err := pgxpool.ParseConfig(url)
		require.NoError(t, err)
		cfg.ConnConfig.DefaultQueryExecMode = mode
		pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		two := tenant(t, pool, false)
		keyed := events.Event{TenantID: one, Type: events.EmailReceived, IdempotencyKey: "key", Data: json.RawMessage(`{}`), Labels: []string{"a", "b"}}
		other := events.Event{TenantID: two, Type: events.EmailSent, Data: json.RawMessage(`{}`)}
		done := insert(t, pool, keyed, other)
		require.Equal(t, mode == pgx.QueryExecModeCacheStatement, done[0].New, mode)
		require.True(t, done[1].New, mode)
		require.False(t, done[1].CreatedAt.IsZero(), mode)
		require.Equal(t, done[0].ID, insert(t, pool, keyed)[0].ID, mode)
	}
}

func TestAKeyOfThePreviousBucketIsStillKnown(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	ev := events.Event{TenantID: ten, Type: events.EmailReceived, Data: json.RawMessage(`{}`), IdempotencyKey: "k"}
	id := events.DeriveID(ten, "k", events.EmailReceived)
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.event_keys SELECT fanmail.bucket(now()) - 1, $1`, id)
	require.NoError(t, err)
	done := insert(t, pool, ev)
	require.False(t, done[0].New)
	require.Equal(t, id, done[0].ID)
}

func TestInsertKeepsTheOrderAndRollsBackCompletely(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	var evs []events.Event
	for i := range outbox.MaxInsert {
		evs = append(evs, events.Event{TenantID: ten, Type: events.EmailSent, Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))})
	}
	done := insert(t, pool, evs...)
	rows, err := pool.Query(ctx, `SELECT event_id FROM fanmail.outbox ORDER BY seq`)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[events.ID])
	require.NoError(t, err)
	require.Len(t, ids, len(evs))
	for i := range ids {
		require.Equal(t, done[i].ID, ids[i])
	}

	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	id, err := outbox.Insert(ctx, tx, evs[0])
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(ctx))
	var n int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.events WHERE id = $1`, id).Scan(&n))
	require.Zero(t, n)
}

func TestBadEventsAreRefusedByFieldAndLeaveTheTransactionUsable(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	good := events.Event{TenantID: ten, Type: events.EmailSent, Data: json.RawMessage(`{}`)}
	for name, c := range map[string]struct {
		change func(*events.Event)
		field  string
		says   string
	}{
		"no tenant":    {func(e *events.Event) { e.TenantID = events.TenantID{} }, "tenant_id", "required"},
		"unknown type": {func(e *events.Event) { e.Type = "email.eaten" }, "type", "email.received"},
		"no data":      {func(e *events.Event) { e.Data = nil }, "data", "JSON object"},
		"array":        {func(e *events.Event) { e.Data = json.RawMessage(`[]`) }, "data", "JSON object"},
		"broken":       {func(e *events.Event) { e.Data = json.RawMessage(`{"a":`) }, "data", "JSON object"},
		"too large": {func(e *events.Event) {
			e.Data = json.RawMessage(`{"a":"` + strings.Repeat("x", events.MaxEnvelopeBytes) + `"}`)
		}, "data", "262144"},
		"long key":        {func(e *events.Event) { e.IdempotencyKey = strings.Repeat("k", 999) }, "idempotency_key", "998"},
		"NUL":             {func(e *events.Event) { e.AgentID = "a\x00b" }, "agent_id", "NUL"},
		"control label":   {func(e *events.Event) { e.Labels = []string{"a\x01b"} }, "labels", "control"},
		"too many labels": {func(e *events.Event) { e.Labels = make([]string, 101) }, "labels", "100"},
	} {
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(ctx) })
		ev := good
		c.change(&ev)
		_, err = outbox.Insert(ctx, tx, ev)
		var fe *events.FieldError
		require.ErrorAs(t, err, &fe, name)
		require.Equal(t, c.field, fe.Field, name)
		require.Contains(t, fe.Reason, c.says, name)
		_, prepareErr := outbox.Prepare(ev)
		require.Equal(t, err, prepareErr, name)
		ev.IdempotencyKey = "" // Log does not use it
		if ev.Validate() != nil {
			_, err = outbox.Log(ctx, tx, &ev)
			require.Equal(t, prepareErr, err, name)
		}
		_, err = outbox.Insert(ctx, tx, good)
		require.NoError(t, err, name)
		require.NoError(t, tx.Commit(ctx))
	}
}

func TestStrictTenantsCommitInSequenceOrder(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	strict, free := tenant(t, pool, true), tenant(t, pool, false)
	ev := events.Event{TenantID: strict, Type: events.EmailSent, Data: json.RawMessage(`{}`)}

	first, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = outbox.Insert(ctx, first, ev)
	require.NoError(t, err)

	// An insert of another tenant does not wait; the next one of the strict tenant does.
	insert(t, pool, events.Event{TenantID: free, Type: events.EmailSent, Data: json.RawMessage(`{}`)})
	second := make(chan error, 1)
	go func() {
		second <- pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := outbox.Insert(ctx, tx, ev)
			return err
		})
	}()
	require.Eventually(t, func() bool {
		var waiting int
		err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).Scan(&waiting)
		return err == nil && waiting == 1
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, first.Commit(ctx))
	require.NoError(t, <-second)
}
