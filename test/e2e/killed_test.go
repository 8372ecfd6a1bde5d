package e2e_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// TestAMailWhoseIngestIsKilledIsOneEvent kills ingest between the blob of a mail and its transaction, and between the
// commit and the answer to the client. The client has no 250 and sends the mail again.
func TestAMailWhoseIngestIsKilledIsOneEvent(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, errors.New("the test of a killed ingest took too long"))
	t.Cleanup(cancel)
	dir := t.TempDir()
	r := newRig(ctx, t, "FANMAIL_BLOBS=file://"+dir)
	_, err := r.pool.Exec(ctx, `WITH t AS (INSERT INTO fanmail.tenants (id, name) VALUES (gen_random_uuid(), 'acme') RETURNING id)
		INSERT INTO fanmail.agents (address, tenant_id) SELECT 'robot@example.com', id FROM t`)
	require.NoError(t, err)
	send := func(n int) error {
		return sendMail(r.smtp, "robot@example.com", fmt.Sprintf("Message-ID: <%d@example.org>\r\n\r\n%s", n, strings.Repeat("0123456789abcde\r\n", 20_000)))
	}
	// killed sends a mail and kills ingest once it is where the test wants it.
	killed := func(n int, there func() bool, while func()) {
		answer := make(chan error, 1)
		go func() { answer <- send(n) }()
		require.Eventually(t, there, time.Minute, 10*time.Millisecond)
		r.crash(ctx, "ingest", func() {
			require.Error(t, <-answer, "the client has no 250")
			while()
		})
		require.NoError(t, send(n))
	}
	require.NoError(t, send(0))

	lock, err := r.pool.Begin(ctx)
	require.NoError(t, err)
	// The transaction reads the agents before it writes.
	_, err = lock.Exec(ctx, `LOCK TABLE fanmail.agents IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	killed(1, func() bool { return len(blobFiles(t, dir)) == 2 }, func() {
		require.NoError(t, lock.Rollback(ctx))
		connected := `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fanmail-ingest'`
		require.Eventually(t, func() bool { return r.count(ctx, connected) == 0 }, time.Minute, 10*time.Millisecond)
		require.Equal(t, 1, r.count(ctx, `SELECT count(*) FROM fanmail.events`), "its transaction is gone")
	})
	require.Equal(t, 2, r.count(ctx, `SELECT count(*) FROM fanmail.events`))
	require.Equal(t, 2, r.count(ctx, `SELECT count(*) FROM fanmail.messages`))
	files := blobFiles(t, dir)
	require.Len(t, files, 3, "the blob of the first try has no row")
	older := olderByHours(t, files[1], 3) // the age of a blob is in its name
	done, err := mailbox.RemoveOrphans(ctx, r.pool, blobs.NewFolder(dir))
	require.NoError(t, err)
	require.EqualValues(t, 1, done.Removed)
	require.NoFileExists(t, older)
	require.Len(t, blobFiles(t, dir), 2)

	// A commit that waits for a replica is on the disk, and has no answer yet.
	replica := func(name string) {
		_, err := r.pool.Exec(ctx, `ALTER SYSTEM SET synchronous_standby_names = '`+name+`'`)
		require.NoError(t, err)
		_, err = r.pool.Exec(ctx, `SELECT pg_reload_conf()`)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			return r.count(ctx, `SELECT count(*) WHERE current_setting('synchronous_standby_names') = '`+name+`'`) == 1
		}, time.Minute, 10*time.Millisecond)
	}
	replica("nobody")
	committed := `SELECT count(*) FROM pg_stat_activity AS a WHERE application_name = 'fanmail-ingest' AND wait_event = 'SyncRep'
		AND EXISTS (SELECT FROM pg_locks WHERE pid = a.pid AND relation = 'fanmail.outbox'::regclass)`
	killed(2, func() bool { return r.count(ctx, committed) == 1 }, func() {
		replica("")
		require.Eventually(t, func() bool { return r.count(ctx, `SELECT count(*) FROM fanmail.messages`) == 3 }, time.Minute, 10*time.Millisecond,
			"the mail was committed")
	})
	require.Equal(t, 3, r.count(ctx, `SELECT count(*) FROM fanmail.events`), "sent again, it is the same event")
	require.Equal(t, 3, r.count(ctx, `SELECT count(*) FROM fanmail.message_raws`))
}

// blobFiles returns the blobs of a folder, the oldest first.
func blobFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "raw"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(d.Name(), ".") {
			files = append(files, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	require.NoError(t, err)
	return files
}

// olderByHours renames a blob as if it had been written earlier.
func olderByHours(t *testing.T, file string, hours int64) string {
	t.Helper()
	id, err := hex.DecodeString(filepath.Base(file))
	require.NoError(t, err)
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	ms -= hours * time.Hour.Milliseconds()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	day := filepath.Join(filepath.Dir(filepath.Dir(file)), time.UnixMilli(ms).UTC().Format(time.DateOnly))
	require.NoError(t, os.MkdirAll(day, 0o755))
	older := filepath.Join(day, hex.EncodeToString(id))
	require.NoError(t, os.Rename(file, older))
	return older
}
