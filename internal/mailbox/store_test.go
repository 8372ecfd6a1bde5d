package mailbox_test

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// pieces makes bytes while it is read, and keeps the longest read.
type pieces struct {
	src     *rand.ChaCha8
	left    int
	longest int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	p.longest = max(p.longest, len(b))
	n, err := p.src.Read(b[:min(len(b), p.left)])
	p.left -= n
	return n, err
}

func TestARawMailIsStoredInPieces(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	one := tenant(t, pool)
	const size = 20_000_001
	conn, err := pool.Acquire(ctx)
	require.NoError(t, err)
	defer conn.Release()
	message := mailbox.Message{ID: events.NewRandom[events.MessageKind](), TenantID: one, AgentID: "a@example.com", EventID: events.NewID()}
	content := &pieces{src: rand.NewChaCha8([32]byte{1}), left: size}
	var at time.Time
	require.NoError(t, pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		require.NoError(t, tx.QueryRow(ctx, `SELECT now()`).Scan(&at))
		stored, err := mailbox.StoreRaw(ctx, tx.Conn(), at, events.NewID(), content, size)
		require.NoError(t, err)
		b := &pgx.Batch{}
		mailbox.QueueMails(b, at, []mailbox.Mail{{Stored: &stored, Messages: []mailbox.Message{message}}})
		return tx.SendBatch(ctx, b).Close()
	}))
	require.LessOrEqual(t, content.longest, 64<<10, "a piece")
	m, err := mailbox.GetMessage(ctx, pool, one, message.ID)
	require.NoError(t, err)
	require.EqualValues(t, size, m.Raw.Size)
	whole, err := m.Raw.Whole(ctx, pool, nil)
	require.NoError(t, err)
	want := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(want)
	require.Equal(t, sha256.Sum256(want), sha256.Sum256(whole))
	var rows int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.message_raws WHERE created_at = $1`, at).Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestARawMailOfAnotherSizeIsNotStored(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	conn, err := pool.Acquire(ctx)
	require.NoError(t, err)
	defer conn.Release()
	for _, size := range []int64{0, 4, 6, 1 << 20} {
		_, err = mailbox.StoreRaw(ctx, conn.Conn(), time.Now(), events.NewID(), strings.NewReader("12345"), size)
		require.ErrorContains(t, err, "another size", size)
	}
	_, err = mailbox.StoreRaw(ctx, conn.Conn(), time.Now(), events.NewID(), strings.NewReader(""), 0)
	require.NoError(t, err)
	var rows int
	require.NoError(t, conn.QueryRow(ctx, `SELECT count(*) FROM fanmail.message_raws`).Scan(&rows), "the connection goes on")
	require.Equal(t, 1, rows)
}
