package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/blobs/s3"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/s3test"
)

// bucket is a store in a real S3 server.
func bucket(t *testing.T) (*s3test.Server, blobs.Store) {
	t.Helper()
	server := s3test.Start(t)
	store, err := s3.New(server.Config("fan/"))
	require.NoError(t, err)
	return server, store
}

// rawOf reads the raw mail of the only message with that Message-ID.
func rawOf(t *testing.T, pool *pgxpool.Pool, store blobs.Store, id string) (raw []byte, key *string) {
	t.Helper()
	var message events.MessageID
	var tenant events.TenantID
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT m.id, m.tenant_id, r.blob FROM fanmail.messages AS m JOIN fanmail.message_raws AS r ON r.id = m.raw_id
		JOIN fanmail.events AS e ON e.id = m.event_id WHERE convert_from(e.envelope, 'utf8')::jsonb->'data'->>'message_id_header' LIKE '%' || $1 || '%'`, id).Scan(&message, &tenant, &key))
	m, err := mailbox.GetMessage(t.Context(), pool, tenant, message)
	require.NoError(t, err)
	raw, err = m.Raw.Whole(t.Context(), pool, store)
	require.NoError(t, err)
	return raw, key
}

func bigMail(id string, size int) string {
	return mailOf(id) + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", size/64)
}

func TestLargeMailGoesToTheBlobStore(t *testing.T) {
	t.Parallel()
	server, store := bucket(t)
	pool, s := quick(t, ingest.Options{Blobs: store})
	for id, size := range map[string]int{"small@x": 100, "spooled@x": 100 << 10, "large@x": 200 << 10, "huge@x": 25 << 20} {
		sent := bigMail(id, size)
		deliverTo(t, s, "a@example.com", sent)
		raw, key := rawOf(t, pool, store, id)
		require.Contains(t, string(raw), sent, id)
		require.Equal(t, size > mailbox.BlobOver, key != nil, id)
	}
	require.Len(t, server.Keys(), 2)
	for _, key := range server.Keys() {
		require.Regexp(t, `^fan/raw/\d{4}-\d\d-\d\d/[0-9a-f]{32}$`, key, "it holds no text of the mail")
	}

	deliverTo(t, s, "a@example.com", bigMail("large@x", 200<<10))
	_, key := rawOf(t, pool, store, "large@x")
	require.NotNil(t, key, "the same mail again makes no second event, and its blob is there")

	plain := serve(t, pool, ingest.Options{})
	deliverTo(t, plain, "a@example.com", bigMail("database@x", 200<<10))
	_, key = rawOf(t, pool, nil, "database@x")
	require.Nil(t, key, "without the setting, the database takes all")
}

func TestWhileTheBlobStoreIsAwaySmallMailIsAccepted(t *testing.T) {
	t.Parallel()
	server, store := bucket(t)
	pool, s := quick(t, ingest.Options{Blobs: store})
	server.Kill()
	w := hello(t, s)
	w.begin("a@example.com")
	require.Contains(t, w.data(451, bigMail("large@x", 200<<10)), "4.3.0")
	w.begin("a@example.com")
	w.data(250, bigMail("small@x", 100))
	server.Again()
	w.begin("a@example.com")
	w.data(250, bigMail("large@x", 200<<10))
	raw, _ := rawOf(t, pool, store, "large@x")
	require.Contains(t, string(raw), bigMail("large@x", 200<<10))
}

// heldStore holds writes until it is released, or fails them.
type heldStore struct {
	blobs.Store
	err     error
	waiting atomic.Int32
	release chan struct{}
}

func (h *heldStore) Put(ctx context.Context, key string, content *io.SectionReader) error {
	if h.err != nil {
		return &blobs.Error{Op: "write", Key: key, Kind: blobs.Full, Err: h.err}
	}
	h.waiting.Add(1)
	<-h.release
	return h.Store.Put(ctx, key, content)
}

func TestAFullBlobStoreIsOutOfStorage(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{Blobs: &heldStore{err: errors.New("no space left on device")}})
	w := hello(t, s)
	w.begin("a@example.com")
	require.Contains(t, w.data(452, bigMail("large@x", 200<<10)), "4.3.1")
	w.begin("a@example.com")
	w.data(250, mailOf("small@x"))
	require.Len(t, mails(t, pool), 1)
}

// rawKeys returns the keys of all raw mails in the store.
func rawKeys(t *testing.T, store blobs.Store) (keys []string) {
	t.Helper()
	for day, err := range store.List(t.Context(), "raw/") {
		require.NoError(t, err)
		for blob, err := range store.List(t.Context(), day) {
			require.NoError(t, err)
			keys = append(keys, blob)
		}
	}
	return keys
}

func TestMailAboveAQuotaLeavesNoBlob(t *testing.T) {
	t.Parallel()
	store, pool := blobs.NewFolder(t.TempDir()), pgtest.Pool(t)
	limited(t, pool, tenancy.Quota{BytesPerDay: 150 << 10}, "small@example.com")
	tenant(t, pool, "free@example.com")
	w := hello(t, serve(t, pool, ingest.Options{Blobs: store, Usage: usage.New(pool, nil)}))
	w.begin("free@example.com")
	w.data(250, bigMail("first@x", 200<<10))
	require.Len(t, rawKeys(t, store), 1)
	w.begin("small@example.com")
	require.Contains(t, w.data(452, bigMail("large@x", 200<<10)), "quota bytes_per_day")
	require.Len(t, rawKeys(t, store), 1, "a sender that repeats it must not fill the store")
}

func TestAFailureOfTheBlobStoreUsesNoQuota(t *testing.T) {
	t.Parallel()
	store := &heldStore{err: errors.New("no space left on device")}
	pool := pgtest.Pool(t)
	counter := usage.New(pool, nil)
	few := limited(t, pool, tenancy.Quota{EventsPerDay: 1}, "few@example.com")
	w := hello(t, serve(t, pool, ingest.Options{Blobs: store, Usage: counter}))
	for range 3 {
		w.begin("few@example.com")
		require.Contains(t, w.data(452, bigMail("large@x", 200<<10)), "4.3.1")
	}
	w.begin("few@example.com")
	w.data(250, letter(1, 300))
	uses(t, counter, few, 1, 300)
}

// A mail whose transaction fails is refused. Its blob has no row, and the next try writes another one.
func TestAMailWhoseTransactionFailsLeavesABlobWithoutARow(t *testing.T) {
	t.Parallel()
	store := blobs.NewFolder(t.TempDir())
	pool := pgtest.Pool(t)
	tenant(t, pool, "bad-23514@example.net")
	_, err := pool.Exec(t.Context(), refuseMails)
	require.NoError(t, err)
	s := serve(t, pool, ingest.Options{Blobs: store})
	w := hello(t, s)
	w.begin("bad-23514@example.net")
	w.data(451, bigMail("large@x", 200<<10))
	_, err = pool.Exec(t.Context(), `DROP TRIGGER fail ON fanmail.messages`)
	require.NoError(t, err)
	w.begin("bad-23514@example.net")
	w.data(250, bigMail("large@x", 200<<10))
	_, key := rawOf(t, pool, store, "large@x")
	require.NotNil(t, key)
	keys := rawKeys(t, store)
	require.Len(t, keys, 2)
	require.Contains(t, keys, *key)
}

// TestMailsThatWaitForTheBlobStoreAreNotInMemory lets more large mails wait for the store than may be in memory at once.
func TestMailsThatWaitForTheBlobStoreAreNotInMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	store := &heldStore{Store: blobs.NewFolder(t.TempDir()), release: make(chan struct{})}
	pool, s := quick(t, ingest.Options{Blobs: store})
	const n, size = 30, 4 << 20
	require.Greater(t, n*size, ingest.HeldLargeBytes)
	clients := make([]*wire, n)
	for i := range clients {
		clients[i] = hello(t, s)
		clients[i].begin("a@example.com")
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for i, w := range clients {
		mail := bigMail(fmt.Sprintf("%d@x", i), size)
		w.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(mail), mail))
		wg.Go(func() { w.expect(250) })
	}
	require.Eventually(t, func() bool { return store.waiting.Load() == n }, patience, 5*time.Millisecond, "all wait")
	runtime.GC()
	runtime.ReadMemStats(&now)
	require.Less(t, now.HeapAlloc, before.HeapAlloc+n*ingest.ParsedBytes+size)
	close(store.release)
	wg.Wait()
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.message_raws WHERE blob IS NOT NULL`).Scan(&rows))
	require.Equal(t, n, rows)
}
