package engine

import (
	"context"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/e2aenvelope"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestOnlyWhatIsLostEndsAnOlderEnvelope: a store or a database that is away is no fault of the mail.
func TestOnlyWhatIsLostEndsAnOlderEnvelope(t *testing.T) {
	t.Parallel()
	pool, dir, tenant := pgtest.Pool(t), t.TempDir(), events.NewRandom[events.TenantKind]()
	folder, elsewhere := filepath.Join(dir, "store"), filepath.Join(dir, "elsewhere")
	require.NoError(t, os.Mkdir(folder, 0o700))
	store := blobs.NewFolder(folder)
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `INSERT INTO fanmail.agents (address, tenant_id) VALUES ('a@example.com', $1)`, tenant)
	require.NoError(t, err)
	s, err := ingest.NewServer(pool, nil, ingest.Options{Addr: "127.0.0.1:0", Blobs: store})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	text := "Message-ID: <1@example.org>\r\n\r\n" + strings.Repeat("0123456789\r\n", mailbox.BlobOver/12+1)
	require.NoError(t, smtp.SendMail(s.Addr().String(), nil, "b@example.org", []string{"a@example.com"}, []byte(text)))
	stop()
	require.NoError(t, <-ended)
	var envelope []byte
	var key string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT e.envelope, r.blob FROM fanmail.events AS e, fanmail.message_raws AS r`).Scan(&envelope, &key))

	old := oldEnvelopes(pool, store)
	got, release, err := old(t.Context(), tenant, envelope)
	require.NoError(t, err)
	release()
	mail, err := e2aenvelope.DecodeReceived(got)
	require.NoError(t, err)
	require.Contains(t, string(mail.RawMessage), text)

	require.NoError(t, os.Rename(folder, elsewhere))
	_, _, err = old(t.Context(), tenant, envelope)
	require.Error(t, err)
	require.NotErrorIs(t, err, dispatch.ErrLost, "the store is away")
	_, _, err = oldEnvelopes(pool, nil)(t.Context(), tenant, envelope)
	require.ErrorIs(t, err, mailbox.ErrNoBlobs)
	require.NotErrorIs(t, err, dispatch.ErrLost)
	require.NoError(t, os.Rename(elsewhere, folder))

	require.NoError(t, os.Remove(filepath.Join(folder, key)))
	_, _, err = old(t.Context(), tenant, envelope)
	require.ErrorIs(t, err, dispatch.ErrLost)

	pool.Close()
	_, _, err = old(t.Context(), tenant, envelope)
	require.Error(t, err)
	require.NotErrorIs(t, err, dispatch.ErrLost, "the database is away")
}
