package agentwebhook_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/blobs"
)

// A mail in the blob store is sent as any. If its blob is lost, the delivery ends with the reason; if the store is away,
// it waits.
func TestAMailInTheBlobStoreIsDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	dir := t.TempDir()
	store := blobs.NewFolder(filepath.Join(dir, "store"))
	moved := func(n int) (key string) {
		r.send(mailTo(n, a), a)
		var raw []byte
		require.NoError(t, r.pool.QueryRow(r.ctx(), `SELECT raw FROM fanmail.message_raws WHERE blob IS NULL`).Scan(&raw))
		sum := sha256.Sum256(raw)
		key = fmt.Sprintf("raw/2026-01-02/%x", sum[:16])
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "store"), 0o700))
		require.NoError(t, store.Put(r.ctx(), key, blobs.Bytes(raw)))
		r.exec(`UPDATE fanmail.message_raws SET raw = NULL, blob = $1, sha256 = $2 WHERE blob IS NULL`, key, sum[:])
		return key
	}
	moved(1)
	d := r.deliverer(func(o *agentwebhook.Options) { o.Blobs = store })
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, 1, r.sink.CountTo("/a"))
	require.Equal(t, "delivered", r.rows(a)[0].Status)

	r.exec(`DELETE FROM fanmail.webhook_deliveries`)
	key := moved(2)
	require.NoError(t, os.Rename(filepath.Join(dir, "store"), filepath.Join(dir, "elsewhere")))
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, "pending", r.rows(a)[0].Status, "the store is away")
	require.Zero(t, r.rows(a)[0].Attempts)
	require.NoError(t, os.Rename(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "store")))
	require.NoError(t, os.Remove(filepath.Join(dir, "store", key)))
	r.exec(`UPDATE fanmail.webhook_deliveries SET next_retry_at = now()`)
	require.NoError(t, d.Round(r.ctx()))
	failed := r.rows(a)[0]
	require.Equal(t, "failed", failed.Status)
	require.Contains(t, *failed.Error, key)
	require.Equal(t, 1, r.sink.CountTo("/a"))
}
