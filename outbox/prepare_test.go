package outbox_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestPreparedEventsAreInsertedLikeOthers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	ev := events.Event{
		TenantID: ten, Type: events.EmailSent, AgentID: "a@example.com", ConversationID: "c", Labels: []string{"x"}, MessageID: "m",
		Data: json.RawMessage(`{ "n": 1 }`), IdempotencyKey: "k",
	}
	prepared, err := outbox.Prepare(ev)
	require.NoError(t, err)
	require.NotEmpty(t, ev.Data, "the caller's event stays as it is")
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(ctx) })
	_, err = outbox.InsertPrepared(ctx, tx, []outbox.Prepared{prepared, {}})
	var fault *events.FieldError
	require.ErrorAs(t, err, &fault, "the zero value is not an event")
	require.Contains(t, fault.Error(), "event 1 was not created by Prepare")
	_, err = outbox.InsertPrepared(ctx, tx, make([]outbox.Prepared, outbox.MaxInsert+1))
	require.ErrorContains(t, err, "the limit is 1000")
	done, err := outbox.InsertPrepared(ctx, tx, []outbox.Prepared{prepared, prepared})
	require.NoError(t, err)
	require.NoError(t, tx.Commit(ctx))
	require.Len(t, done, 2)
	require.Equal(t, events.DeriveID(ten, "k", events.EmailSent), done[0].ID)
	require.Equal(t, done[0].ID, done[1].ID)

	again := insert(t, pool, ev)
	require.Equal(t, done[0].ID, again[0].ID)
	require.False(t, again[0].New)
	rec, envelope, err := outbox.Find(ctx, pool, ten, done[0].ID)
	require.NoError(t, err)
	require.Equal(t, []string{"a@example.com", "c", "m", "x"}, append([]string{rec.AgentID, rec.ConversationID, rec.MessageID}, rec.Labels...))
	env, err := events.DecodeEnvelope(envelope)
	require.NoError(t, err)
	require.Equal(t, `{"n":1}`, string(env.Data))
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		done, err := outbox.InsertPrepared(ctx, tx, nil)
		require.Empty(t, done)
		return err
	}))
}
