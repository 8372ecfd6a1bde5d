package mailbox_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func tenant(t *testing.T, pool *pgxpool.Pool) events.TenantID {
	t.Helper()
	id := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, id)
	require.NoError(t, err)
	return id
}

func TestAnAddressBelongsToOneTenant(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	own, other := tenant(t, pool), tenant(t, pool)
	const address, free = "a@example.com", "free@example.com"
	a, created, err := mailbox.CreateAgent(ctx, pool, own, address, "https://example.com/hook")
	require.NoError(t, err)
	require.True(t, created)
	_, created, err = mailbox.CreateAgent(ctx, pool, other, address, "")
	require.NoError(t, err)
	require.False(t, created)

	route, _, err := mailbox.FindRoute(ctx, pool, address)
	require.NoError(t, err)
	require.Equal(t, own, route.TenantID)
	_, err = mailbox.GetAgent(ctx, pool, other, address)
	require.ErrorIs(t, err, pgx.ErrNoRows)
	_, err = mailbox.SetWebhook(ctx, pool, other, address, nil)
	require.ErrorIs(t, err, pgx.ErrNoRows)
	require.ErrorIs(t, mailbox.DeleteAgent(ctx, pool, other, address), pgx.ErrNoRows)
	missing, err := mailbox.MissingAgent(ctx, pool, other, address)
	require.NoError(t, err)
	require.Equal(t, address, missing)

	found, b := make(mailbox.Agents), &pgx.Batch{}
	mailbox.QueueAgents(b, []string{address, free, address}, found)
	require.NoError(t, pool.SendBatch(ctx, b).Close())
	require.Equal(t, mailbox.Agents{address: a}, found)
	_, ok := found.Of(own, address)
	require.True(t, ok)
	_, ok = found.Of(other, address)
	require.False(t, ok)
	_, ok = found.Of(own, free)
	require.False(t, ok)
}

func TestMessagesOfAMailShareItsRawMail(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	one, two := tenant(t, pool), tenant(t, pool)
	mail := bytes.Repeat([]byte("0123456789abcdef"), mailbox.ChunkSize/16+1) // two chunks
	var at time.Time
	require.NoError(t, pool.QueryRow(ctx, `SELECT now()`).Scan(&at))
	list := []mailbox.Message{
		{ID: events.NewRandom[events.MessageKind](), TenantID: one, AgentID: "a@example.com", EventID: events.NewID()},
		{ID: events.NewRandom[events.MessageKind](), TenantID: two, AgentID: "b@example.com", EventID: events.NewID()},
	}
	b := &pgx.Batch{}
	mailbox.QueueMails(b, at, []mailbox.Mail{{Raw: mail, Messages: list}})
	found := make(map[events.MessageID]mailbox.Message)
	gone := events.NewRandom[events.MessageKind]()
	mailbox.QueueFind(b, []events.MessageID{list[0].ID, list[1].ID, gone}, []time.Time{at, at, at}, found)
	require.NoError(t, pool.SendBatch(ctx, b).Close())
	require.Len(t, found, 2)
	require.Equal(t, found[list[0].ID].Raw, found[list[1].ID].Raw, "it is stored once")

	m, err := mailbox.GetMessage(ctx, pool, one, list[0].ID)
	require.NoError(t, err)
	require.Equal(t, found[list[0].ID], m)
	require.Equal(t, list[0].EventID, m.EventID)
	require.Equal(t, "a@example.com", m.AgentID)
	_, err = mailbox.GetMessage(ctx, pool, two, list[0].ID)
	require.ErrorIs(t, err, pgx.ErrNoRows, "the other tenant's")

	reader, err := m.Raw.Open(ctx, pool, nil)
	require.NoError(t, err)
	first, err := reader.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, mail[:mailbox.ChunkSize], first)
	whole, err := m.Raw.Whole(ctx, pool, nil)
	require.NoError(t, err)
	require.Equal(t, mail, whole)

	longer := m.Raw
	longer.Size++
	_, err = longer.Whole(ctx, pool, nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	longer.ID = [16]byte{1}
	_, err = longer.Whole(ctx, pool, nil)
	require.ErrorIs(t, err, mailbox.ErrGone)
}
