package agentwebhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestOneChunkOfAMailIsInMemoryAtATime(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	mail := bytes.Repeat([]byte("0123456789abc\xfb\xff\n"), 1<<16) // a megabyte
	of := mailbox.Raw{ID: events.NewID(), CreatedAt: time.Now().UTC().Truncate(time.Microsecond), Size: int64(len(mail))}
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.message_raws (id, created_at, raw) VALUES ($1, $2, $3)`, events.ID(of.ID), of.CreatedAt, mail)
	require.NoError(t, err)
	b, err := newBody(ctx, pool, nil, &Payload{To: []string{}, RawMessage: []byte{}}, of)
	require.NoError(t, err)

	p := &rawReader{ctx: ctx, body: b, opened: b.opened.Swap(nil)}
	var sent bytes.Buffer
	for some := make([]byte, 32<<10); ; {
		n, err := p.Read(some)
		sent.Write(some[:n])
		require.LessOrEqual(t, cap(p.out), 2*mailbox.ChunkSize)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	require.Equal(t, base64.StdEncoding.EncodeToString(mail), sent.String())

	whole, err := io.ReadAll(b.reader(ctx))
	require.NoError(t, err)
	require.Len(t, whole, int(b.length()))
	var got Payload
	require.NoError(t, json.Unmarshal(whole, &got))
	require.Equal(t, mail, got.RawMessage)
}
