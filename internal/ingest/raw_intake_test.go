package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/rawmail"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// manyRaw is more mails than a consumer of raw mails once let wait.
const manyRaw = 1_100

// publishRaw publishes a raw mail with that Message-ID.
func publishRaw(t testing.TB, js jetstream.JetStream, node, id string, to ...string) {
	t.Helper()
	_, err := js.PublishMsg(t.Context(), rawMail(node, id, to...))
	require.NoError(t, err)
}

func rawMail(node, id string, to ...string) *nats.Msg {
	msg := nats.NewMsg(stream.RawPrefix + node)
	msg.Header[rawmail.HeaderTo] = to
	msg.Data = []byte(mailOf(id))
	return msg
}

// publishManyRaw publishes [manyRaw] mails to an address.
func publishManyRaw(t testing.TB, js jetstream.JetStream, to string) {
	t.Helper()
	for i := range manyRaw {
		_, err := js.PublishMsgAsync(rawMail("many", fmt.Sprintf("%d@many.example", i), to))
		require.NoError(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(patience):
		require.Fail(t, "the broker does not take the mails")
	}
}

// deadRaw waits for the dead letter of a node's mail, and returns its reason.
func deadRaw(t testing.TB, js jetstream.JetStream, node string) (reason string) {
	t.Helper()
	dead, err := js.Stream(t.Context(), stream.Dead)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		m, err := dead.GetLastMsgForSubject(t.Context(), "mail.dead.raw."+node)
		if err == nil {
			reason = m.Header.Get(stream.HeaderReason)
		}
		return err == nil
	}, 6*patience, 10*time.Millisecond, "%s", node)
	return reason
}

// TestARawMailForADeletedTenantIsADeadLetterAndOthersOfItGetIt: the edge has answered with 250 before it knew.
func TestARawMailForADeletedTenantIsADeadLetterAndOthersOfItGetIt(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "robot@example.com")
	require.NoError(t, mailbox.Suspend(t.Context(), pool, tenant(t, pool, "gone@example.net"), true))
	w := hello(t, publishing(t, js, nil))
	w.begin("gone@example.net", "robot@example.com")
	w.data(250, anyMail)
	publishRaw(t, js, "alone", "2@example.org", "gone@example.net", "nobody@example.net")
	takingRaw(t, pool, js, ingest.Options{})
	require.Equal(t, "robot@example.com", eventually(t, pool, 1)[0].Agent)
	require.Contains(t, deadRaw(t, js, "alone"), "the tenant is deleted")
	emptied(t, js)
}

// TestMailsForADeletedTenantDoNotHoldUpThoseOfOthers, however many there are.
func TestMailsForADeletedTenantDoNotHoldUpThoseOfOthers(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "robot@example.com")
	require.NoError(t, mailbox.Suspend(t.Context(), pool, tenant(t, pool, "gone@example.net"), true))
	publishManyRaw(t, js, "gone@example.net")
	publishRaw(t, js, "live", "live@example.org", "robot@example.com")
	takingRaw(t, pool, js, ingest.Options{})
	eventually(t, pool, 1)
	emptied(t, js)
	dead, err := js.Stream(t.Context(), stream.Dead)
	require.NoError(t, err)
	require.EqualValues(t, manyRaw, dead.CachedInfo().State.Msgs)
}

// TestMailsThatWaitForTheirNextTryDoNotHoldUpOthers: the database refuses them for now.
func TestMailsThatWaitForTheirNextTryDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "robot@example.com", "bad-53100@example.net")
	_, err := pool.Exec(t.Context(), refuseMails)
	require.NoError(t, err)
	publishManyRaw(t, js, "bad-53100@example.net")
	publishRaw(t, js, "live", "live@example.org", "robot@example.com")
	takingRaw(t, pool, js, ingest.Options{})
	require.Equal(t, "robot@example.com", eventually(t, pool, 1)[0].Agent)
	s, err := js.Stream(t.Context(), stream.Raw)
	require.NoError(t, err)
	require.EqualValues(t, manyRaw, s.CachedInfo().State.Msgs, "none is lost")
}

// TestARawMailThatTheDatabaseRefusesForGoodIsADeadLetter, and one that it refuses for now is tried again.
func TestARawMailThatTheDatabaseRefusesForGoodIsADeadLetter(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	codes := []string{"22001", "22021", "22p05", "54000"}
	tenant(t, pool, "bad-53100@example.net", "bad-23514@example.net")
	for _, code := range codes {
		tenant(t, pool, "bad-"+code+"@example.net")
	}
	_, err := pool.Exec(t.Context(), refuseMails)
	require.NoError(t, err)
	for _, code := range append(codes, "53100", "23514") {
		publishRaw(t, js, code, code+"@example.org", "bad-"+code+"@example.net")
	}
	takingRaw(t, pool, js, ingest.Options{})
	for _, code := range codes {
		require.Contains(t, deadRaw(t, js, code), "cannot be stored", code)
	}
	_, _, messages, _ := counts(t, pool)
	require.Zero(t, messages)
	_, err = pool.Exec(t.Context(), `DROP FUNCTION fail CASCADE`)
	require.NoError(t, err)
	eventually(t, pool, 2)
	emptied(t, js)
}

// slowStore fails while it is away, and answers when it is released.
type slowStore struct {
	blobs.Store
	away    atomic.Bool
	asked   atomic.Int32
	release chan struct{}
}

func (s *slowStore) Put(ctx context.Context, key string, content *io.SectionReader) error {
	s.asked.Add(1)
	<-s.release
	if s.away.Load() {
		return &blobs.Error{Op: "write", Key: key, Kind: blobs.Unreachable, Err: errors.New("no answer")}
	}
	return s.Store.Put(ctx, key, content)
}

// TestLargeMailsThatTheBlobStoreFailsLeaveWorkersToSmallOnes: a store that does not answer holds a worker for long.
func TestLargeMailsThatTheBlobStoreFailsLeaveWorkersToSmallOnes(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "large@example.com", "small@example.com")
	store := &slowStore{Store: blobs.NewFolder(t.TempDir()), release: make(chan struct{})}
	store.away.Store(true)
	const large, workers = 80, 32
	for i := range large {
		msg := rawMail("large", "", "large@example.com")
		msg.Data = []byte(bigMail(fmt.Sprintf("%d@large.example", i), 200<<10))
		_, err := js.PublishMsg(t.Context(), msg)
		require.NoError(t, err)
	}
	takingRaw(t, pool, js, ingest.Options{Blobs: store})
	released := false
	defer func() {
		if !released {
			close(store.release)
		}
	}()
	for range workers { // all workers wait for the store, and then learn that it is away
		store.release <- struct{}{}
	}
	publishRaw(t, js, "small", "small@example.org", "small@example.com")
	require.Equal(t, "small@example.com", eventually(t, pool, 1)[0].Agent)
	require.Less(t, int(store.asked.Load()), large, "few ask the store meanwhile")

	store.away.Store(false)
	released = true
	close(store.release)
	require.Eventually(t, func() bool { _, _, messages, _ := counts(t, pool); return messages == large+1 }, 2*patience, 10*time.Millisecond)
	emptied(t, js)
}
