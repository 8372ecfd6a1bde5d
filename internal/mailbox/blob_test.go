package mailbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// bornSince is an id of [events.NewID] that was made so long ago.
func bornSince(ago time.Duration) (id events.ID) {
	id = events.NewID()
	ms := time.Now().Add(-ago).UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

func randomMail(t *testing.T, size int) []byte {
	t.Helper()
	mail := make([]byte, size)
	_, err := rand.Read(mail)
	require.NoError(t, err)
	return mail
}

// stored is a mail in the database whose raw mail is in the store.
func stored(t *testing.T, pool *pgxpool.Pool, store blobs.Store, mail []byte) (Raw, *Blob) {
	t.Helper()
	blob, err := PutBlob(t.Context(), store, blobs.Bytes(mail))
	require.NoError(t, err)
	return inserted(t, pool, blob, mail), blob
}

func inserted(t *testing.T, pool *pgxpool.Pool, blob *Blob, mail []byte) Raw {
	t.Helper()
	m := Message{ID: events.NewRandom[events.MessageKind](), TenantID: events.NewRandom[events.TenantKind](), AgentID: "a@example.com", EventID: events.NewID()}
	at := time.Now().UTC().Truncate(time.Microsecond)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		QueueMails(b, at, []Mail{{Raw: mail, Blob: blob, Messages: []Message{m}}})
		return tx.SendBatch(t.Context(), b).Close()
	}))
	got, err := GetMessage(t.Context(), pool, m.TenantID, m.ID)
	require.NoError(t, err)
	return got.Raw
}

func TestARawMailIsReadFromWhereItIs(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	store := blobs.NewFolder(t.TempDir())
	for _, size := range []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 3*ChunkSize + 5} {
		mail := randomMail(t, size)
		inStore, blob := stored(t, pool, store, mail)
		var raw []byte
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT raw FROM fanmail.message_raws WHERE blob = $1`, blob.Key()).Scan(&raw))
		require.Nil(t, raw)
		for _, r := range []Raw{inStore, inserted(t, pool, nil, mail)} {
			o, err := r.Open(t.Context(), pool, store)
			require.NoError(t, err)
			var got []byte
			for {
				chunk, err := o.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				got = append(got, chunk...)
				require.True(t, len(chunk) == ChunkSize || len(got) == size, "only the last chunk is shorter")
			}
			o.Close()
			require.True(t, bytes.Equal(mail, got))
			whole, err := r.Whole(t.Context(), pool, store)
			require.NoError(t, err)
			require.True(t, bytes.Equal(mail, whole))
		}
	}
	_, err := inserted(t, pool, nil, []byte("x")).Whole(t.Context(), pool, nil)
	require.NoError(t, err, "without a store, mails in the database are read")
	r, blob := stored(t, pool, store, randomMail(t, 10))
	_, err = r.Open(t.Context(), pool, nil)
	require.ErrorIs(t, err, ErrNoBlobs)
	require.ErrorContains(t, err, blob.Key())
}

func TestABlobThatIsNotWhatWasStoredIsNotRead(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	for name, spoil := range map[string]func(path string) error{
		"missing": os.Remove,
		"shorter": func(path string) error { return os.Truncate(path, ChunkSize+5) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"changed": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("0123456789"), 20)
			}
			return errors.Join(err, f.Close())
		},
	} {
		dir := t.TempDir()
		store := blobs.NewFolder(dir)
		r, blob := stored(t, pool, store, randomMail(t, 2*ChunkSize+100))
		require.NoError(t, spoil(filepath.Join(dir, blob.Key())))
		_, err := r.Whole(t.Context(), pool, store)
		var lost *BlobError
		require.ErrorAs(t, err, &lost, name)
		require.Equal(t, blob.Key(), lost.Key, name)
		require.ErrorContains(t, err, blob.Key(), name)
		want := blobDamaged
		if name == "missing" {
			want = blobMissing
		}
		require.Equal(t, want, lost.Why, name)
	}
}

// breaking is a store whose connections break after some bytes.
type breaking struct {
	blobs.Store
	after int64
	opens atomic.Int64
}

func (b *breaking) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	b.opens.Add(1)
	r, err := b.Store.Open(ctx, key, from)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, b.after), brokenReader{}), r}, nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, net.ErrClosed }

func TestReadingGoesOnWhereAConnectionBroke(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	store := &breaking{Store: blobs.NewFolder(t.TempDir()), after: 100_000}
	mail := randomMail(t, 5*ChunkSize)
	r, _ := stored(t, pool, store, mail)
	got, err := r.Whole(t.Context(), pool, store)
	require.NoError(t, err)
	require.True(t, bytes.Equal(mail, got))
	require.Greater(t, store.opens.Load(), int64(5))

	store.after = 0
	_, err = r.Whole(t.Context(), pool, store)
	require.Equal(t, blobs.Unreachable, blobs.KindOf(err), "%v", err)
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestAMailThatComesTooLateForItsBlobIsNotCommitted(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	mail := []byte("a mail")
	sum := sha256.Sum256(mail)
	blob := &Blob{id: bornSince(blobLate + time.Minute), size: int64(len(mail)), sum: sum[:]}
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		QueueMails(b, time.Now(), []Mail{{Raw: mail, Blob: blob, Messages: []Message{{ID: events.NewRandom[events.MessageKind]()}}}})
		return tx.SendBatch(t.Context(), b).Close()
	})
	require.ErrorIs(t, err, ErrLateBlob)
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM fanmail.messages) + (SELECT count(*) FROM fanmail.message_raws)`).Scan(&rows))
	require.Zero(t, rows)
}

// withRow inserts the row of a blob, at the present time.
const withRow = `INSERT INTO fanmail.message_raws (id, created_at, blob, sha256) VALUES ($1, now(), $2, '')`

func TestBlobsWithoutARowAreRemovedAndNoOthers(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	store := blobs.NewFolder(t.TempDir())
	put := func(key string) string {
		require.NoError(t, store.Put(t.Context(), key, blobs.Bytes([]byte("x"))))
		return key
	}
	var gone, kept []string
	for _, ago := range []time.Duration{2 * time.Hour, 20 * time.Hour, 40 * 24 * time.Hour, 400 * 24 * time.Hour} {
		gone = append(gone, put(blobKey(bornSince(ago))), put(blobKey(bornSince(ago))+".part"))
		id := bornSince(ago)
		_, err := pool.Exec(t.Context(), withRow, id, put(blobKey(id)))
		require.NoError(t, err)
		kept = append(kept, blobKey(id))
		gone = append(gone, put(blobKey(id)+".part"))
	}
	kept = append(kept, put(blobKey(events.NewID())), put(blobKey(bornSince(50*time.Minute))), put("raw/2026-01-02/not-ours"), put("raw/other/x"), put(blobs.OwnerKey))
	for range orphanBatch + 5 { // more than one batch
		gone = append(gone, put(blobKey(bornSince(3*time.Hour))))
	}
	done, err := RemoveOrphans(t.Context(), pool, store)
	require.NoError(t, err)
	require.EqualValues(t, len(gone), done.Removed)
	for _, key := range gone {
		_, err := store.Open(t.Context(), key, 0)
		require.Equal(t, blobs.Missing, blobs.KindOf(err), key)
	}
	for _, key := range kept {
		r, err := store.Open(t.Context(), key, 0)
		require.NoError(t, err, key)
		require.NoError(t, r.Close())
	}
	done, err = RemoveOrphans(t.Context(), pool, store)
	require.NoError(t, err)
	require.Zero(t, done.Removed)
}

// A transaction that has inserted a blob's row may take long to commit.
func TestRemovalWaitsForTransactionsThatMayHaveARow(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	store := blobs.NewFolder(t.TempDir())
	id := bornSince(5 * time.Hour)
	require.NoError(t, store.Put(t.Context(), blobKey(id), blobs.Bytes([]byte("x"))))
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), withRow, id, blobKey(id))
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		for { // until the lock is free
			done, err := RemoveOrphans(context.WithoutCancel(t.Context()), pool, store)
			if err != nil || !done.Skipped {
				ended <- err
				return
			}
		}
	}()
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // the pool can't close before
	require.Eventually(t, func() bool {                                    // it holds the lock, and asks about transactions
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		done, err := RemoveOrphans(ctx, pool, store)
		return err == nil && done.Skipped
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-ended)
	r, err := store.Open(t.Context(), blobKey(id), 0)
	require.NoError(t, err, "the row has committed meanwhile")
	require.NoError(t, r.Close())
}

func TestEachDayOfBlobsIsListedOnceADay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 0, 30, 0, 0, time.UTC)
	for age := range 60 {
		day := now.Truncate(24*time.Hour).AddDate(0, 0, -age)
		times := 0
		for hour := range 24 {
			if due(day, now.Add(time.Duration(hour)*time.Hour)) {
				times++
			}
		}
		switch {
		case age <= 1 || age >= 32:
			require.Equal(t, 24, times, age)
		default:
			require.GreaterOrEqual(t, times, 1, age)
			require.LessOrEqual(t, times, 24, age)
		}
	}
}

// The processes' roles have no right to anything but Fanmail's tables.
func TestTheOwnerOfABlobStoreIsReadWithoutRights(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	want, err := BlobOwner(t.Context(), pool)
	require.NoError(t, err)
	require.Regexp(t, `^postgres \d+ \d+$`, want)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `SET LOCAL ROLE pg_signal_backend`)
		require.NoError(t, err)
		got, err := BlobOwner(t.Context(), tx)
		require.Equal(t, want, got)
		return err
	}))
}
