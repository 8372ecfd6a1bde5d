package outbox_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func prepare(t *testing.T, ev events.Event) outbox.Prepared {
	t.Helper()
	p, err := outbox.Prepare(ev)
	require.NoError(t, err)
	return p
}

// claimed inserts events in two batches. The second has the events of other, if that is not nil.
func claimed(t *testing.T, pool *pgxpool.Pool, evs, other []outbox.Prepared) []outbox.Inserted {
	t.Helper()
	ctx := context.Background()
	var c outbox.Claim
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		outbox.QueueLock(b, nil)
		require.NoError(t, c.Queue(b, evs))
		require.NoError(t, tx.SendBatch(ctx, b).Close())
		if other == nil {
			other = evs
		}
		b = &pgx.Batch{}
		require.NoError(t, c.QueueInsert(ctx, b, other))
		return tx.SendBatch(ctx, b).Close()
	}))
	return c.Results()
}

func TestAClaimTellsWhichEventsAreNewBeforeItInsertsThem(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	ev := events.Event{TenantID: tenant(t, pool, false), Type: events.EmailSent, Data: json.RawMessage(`{"n":1}`), IdempotencyKey: "k"}
	changed, plain, known := ev, ev, ev
	changed.ConversationID, changed.Data = "c", json.RawMessage(`{"n":2}`)
	plain.IdempotencyKey = ""
	known.IdempotencyKey = "known"
	first := insert(t, pool, known)
	same := prepare(t, plain)
	done := claimed(t, pool,
		[]outbox.Prepared{prepare(t, ev), prepare(t, ev), prepare(t, known), same},
		[]outbox.Prepared{prepare(t, changed), prepare(t, changed), prepare(t, known), same})
	require.Equal(t, []bool{true, false, false, true}, []bool{done[0].New, done[1].New, done[2].New, done[3].New})
	require.Equal(t, first[0].ID, done[2].ID)
	_, envelope, err := outbox.Find(ctx, pool, ev.TenantID, done[0].ID)
	require.NoError(t, err)
	env, err := events.DecodeEnvelope(envelope)
	require.NoError(t, err)
	require.Equal(t, `{"n":2}`, string(env.Data), "the event as it is at the insertion")
	var rows int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.outbox AS o JOIN fanmail.events AS e ON e.id = o.event_id AND e.created_at = o.created_at`).Scan(&rows))
	require.Equal(t, 3, rows)
	var at bool
	require.NoError(t, pool.QueryRow(ctx, `SELECT created_at = $2 FROM fanmail.events WHERE id = $1`, done[0].ID, done[0].CreatedAt).Scan(&at))
	require.True(t, at)
	again := claimed(t, pool, []outbox.Prepared{prepare(t, changed)}, nil)
	require.False(t, again[0].New)
	require.Empty(t, claimed(t, pool, nil, nil))
}

func TestAClaimRefusesOtherEvents(t *testing.T) {
	t.Parallel()
	ev := events.Event{TenantID: events.NewRandom[events.TenantKind](), Type: events.EmailSent, Data: json.RawMessage(`{}`)}
	one, other := prepare(t, ev), prepare(t, ev)
	var c outbox.Claim
	b := &pgx.Batch{}
	require.ErrorContains(t, c.Queue(b, []outbox.Prepared{{}}), "event 0 was not created by Prepare")
	require.ErrorContains(t, c.Queue(b, make([]outbox.Prepared, outbox.MaxInsert+1)), "the limit is 1000")
	require.NoError(t, c.Queue(b, []outbox.Prepared{one}))
	require.ErrorContains(t, c.QueueInsert(t.Context(), b, []outbox.Prepared{other}), "event 0 is not the one that was claimed")
	require.ErrorContains(t, c.QueueInsert(t.Context(), b, nil), "0 events, of which 1 were claimed")
	require.Equal(t, 1, b.Len())
}

// TestTwoClaimsOfAKeyAreOneEvent lets one transaction wait for the key of another, which then commits or gives up.
func TestTwoClaimsOfAKeyAreOneEvent(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	for key, commits := range map[string]bool{"committed": true, "rolled back": false} {
		ev := prepare(t, events.Event{TenantID: tenant(t, pool, false), Type: events.EmailSent, Data: json.RawMessage(`{}`), IdempotencyKey: key})
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		var c outbox.Claim
		b := &pgx.Batch{}
		require.NoError(t, c.Queue(b, []outbox.Prepared{ev}))
		require.NoError(t, tx.SendBatch(ctx, b).Close())
		require.True(t, c.Results()[0].New)
		second := make(chan []outbox.Inserted, 1)
		go func() { second <- claimed(t, pool, []outbox.Prepared{ev}, nil) }()
		require.Eventually(t, func() bool {
			var waits bool
			err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' AND database IS NULL
				AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))`).Scan(&waits)
			return err == nil && waits
		}, 20*time.Second, 5*time.Millisecond)
		if commits {
			b = &pgx.Batch{}
			require.NoError(t, c.QueueInsert(ctx, b, []outbox.Prepared{ev}))
			require.NoError(t, tx.SendBatch(ctx, b).Close())
			require.NoError(t, tx.Commit(ctx))
		} else {
			require.NoError(t, tx.Rollback(ctx))
		}
		require.Equal(t, !commits, (<-second)[0].New, key)
	}
}

// TestAnEventBehindAGateIsInsertedIfItIsOpenAndNew runs transactions of one round trip, of which a last statement writes if
// the gate is open.
func TestAnEventBehindAGateIsInsertedIfItIsOpenAndNew(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(ctx, `CREATE TABLE behind (n integer)`)
	require.NoError(t, err)
	strict := tenant(t, pool, true)
	insert := func(ev events.Event, before string) outbox.Inserted {
		var done outbox.Inserted
		require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue(before)
			outbox.QueueGateLock(b, ev.TenantID)
			require.NoError(t, outbox.QueueNew(ctx, b, prepare(t, ev), &done))
			b.Queue(`INSERT INTO behind SELECT 1 WHERE ` + pg.GateOpen)
			return tx.SendBatch(ctx, b).Close()
		}))
		return done
	}
	count := func(table string) (n int) {
		require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&n))
		return n
	}
	ev := events.Event{TenantID: strict, Type: events.EmailSent, Data: json.RawMessage(`{"n":1}`), IdempotencyKey: "k"}
	closed := insert(ev, `SELECT `+pg.CloseGate)
	require.False(t, closed.New)
	require.Zero(t, count("fanmail.events")+count("fanmail.outbox")+count("fanmail.event_keys")+count("behind"))
	first := insert(ev, `SELECT 1`)
	require.True(t, first.New)
	require.Equal(t, closed.ID, first.ID)
	var at time.Time
	require.NoError(t, pool.QueryRow(ctx, `SELECT created_at FROM fanmail.events WHERE id = $1`, first.ID).Scan(&at))
	require.True(t, at.Equal(first.CreatedAt))
	require.False(t, insert(ev, `SELECT 1`).New, "it is known")
	require.Equal(t, []int{1, 1, 1}, []int{count("fanmail.events"), count("fanmail.outbox"), count("behind")})

	holder, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = holder.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))`, strict)
	require.NoError(t, err)
	ev.IdempotencyKey = ""
	require.False(t, insert(ev, `SELECT 1`).New, "another transaction holds the tenant's order")
	require.NoError(t, holder.Rollback(ctx))
	require.True(t, insert(ev, `SELECT 1`).New)
	var unprepared outbox.Inserted
	require.Error(t, outbox.QueueNew(ctx, &pgx.Batch{}, outbox.Prepared{}, &unprepared))
}
