package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/rawmail"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// publishing runs a server without a database until the test ends.
func publishing(t testing.TB, js jetstream.JetStream, d *rawmail.Directory) *ingest.Server {
	t.Helper()
	s, err := ingest.NewPublishingServer(rawmail.NewPublisher(js, "edge-1"), d, ingest.Options{
		Addr: "127.0.0.1:0", Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)),
	})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	running(t, s.Run)
	return s
}

// takingRaw runs an intake of raw mails until stop is called or the test ends.
func takingRaw(t testing.TB, pool *pgxpool.Pool, js jetstream.JetStream, o ingest.Options) (stop func()) {
	t.Helper()
	o.Addr = "127.0.0.1:0"
	s, err := ingest.NewServer(pool, nil, o)
	require.NoError(t, err)
	return running(t, ingest.NewRawIntake(s, js, ingest.IntakeOptions{Drain: patience, Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))}).Run)
}

// eventually waits until the database has n mails.
func eventually(t testing.TB, pool *pgxpool.Pool, n int) []stored {
	t.Helper()
	require.Eventually(t, func() bool { _, _, messages, _ := counts(t, pool); return messages >= n }, 6*patience, 10*time.Millisecond)
	list := mails(t, pool)
	require.Len(t, list, n)
	return list
}

// emptied waits until the broker has no raw mail and no object.
func emptied(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	ctx := t.Context()
	require.Eventually(t, func() bool {
		s, err := js.Stream(ctx, stream.Raw)
		require.NoError(t, err)
		objects, err := js.Stream(ctx, stream.RawObjectsStream)
		require.NoError(t, err)
		return s.CachedInfo().State.Msgs == 0 && objects.CachedInfo().State.Msgs == 0
	}, 6*patience, 10*time.Millisecond)
}

func broker(t testing.TB) jetstream.JetStream {
	t.Helper()
	_, js := natstest.Connect(t)
	require.NoError(t, stream.EnsureAll(t.Context(), js, stream.Options{}))
	return js
}

const anyMail = "Message-ID: <1@example.org>\r\nFrom: a@example.org\r\nSubject: hi\r\n\r\nhello\r\n"

func TestAMailThatIsPublishedIsTheSameEvent(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "robot@example.com", "other@example.com")
	edge := publishing(t, js, nil)
	large := "Message-ID: <2@example.org>\r\nFrom: a@example.org\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 4<<20/18)
	w := hello(t, edge)
	w.begin("Robot@example.com", "nobody@example.com", "other@example.com")
	w.data(250, anyMail)
	w.begin("robot@example.com")
	w.data(250, large)
	_, _, messages, _ := counts(t, pool)
	require.Zero(t, messages, "no intake runs yet")

	takingRaw(t, pool, js, ingest.Options{})
	list := eventually(t, pool, 3)
	byAgent := map[string]int{}
	for _, m := range list {
		byAgent[m.Agent]++
		if len(m.Raw) > 1<<20 {
			require.Equal(t, large+"\r\n", string(m.Raw))
			continue
		}
		require.Equal(t, anyMail+"\r\n", string(m.Raw))
		require.Equal(t, "sender@example.org", m.Data.Envelope.From)
	}
	require.Equal(t, map[string]int{"robot@example.com": 2, "other@example.com": 1}, byAgent)
	emptied(t, js)
}

func TestMailIsAcceptedWhileThereIsNoDatabaseAndNotOnceMoreAfterARepetition(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "robot@example.com")
	edge := publishing(t, js, nil)
	stop := takingRaw(t, pool, js, ingest.Options{})
	stop()
	w := hello(t, edge)
	for range 3 { // a client that does not see the reply sends again
		w.begin("robot@example.com")
		w.data(250, anyMail)
	}
	takingRaw(t, pool, js, ingest.Options{})
	takingRaw(t, pool, js, ingest.Options{})
	emptied(t, js)
	eventually(t, pool, 1)
}

func TestAnEdgeRefusesRecipientsThatTheBucketDoesNotHave(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	id := tenant(t, pool, "robot@example.com", "gone@example.com", "*@example.net")
	edge := publishing(t, js, rawmail.NewDirectory(js))
	w := hello(t, edge)
	w.say(250, "MAIL FROM:<sender@example.org>")
	w.say(451, "RCPT TO:<robot@example.com>") // no bucket: nobody can tell
	running(t, rawmail.NewKeeper(pool, js, stream.Options{}, zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))).Run)
	directory := rawmail.NewDirectory(js)
	knows := func(address string, want bool) {
		require.Eventually(t, func() bool {
			got, err := directory.Knows(t.Context(), address)
			return err == nil && got == want
		}, patience, 10*time.Millisecond, "%s", address)
	}
	knows("robot@example.com", true)
	knows("GONE@Example.com", true)
	w.say(250, "RCPT TO:<robot@example.com>")
	knows("anybody@example.net", true)
	w.say(250, "RCPT TO:<robot+tag@example.com>")
	w.say(250, "RCPT TO:<anybody@example.net>")
	knows("nobody@example.com", false) // the bucket is full
	w.say(550, "RCPT TO:<nobody@example.com>")

	_, err := pool.Exec(t.Context(), `WITH gone AS (DELETE FROM fanmail.agents WHERE address = 'gone@example.com' RETURNING address, tenant_id)
		INSERT INTO fanmail.released_names (name, tenant_id) SELECT * FROM gone`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `INSERT INTO fanmail.agents (address, tenant_id) VALUES ('new@example.com', $1)`, id)
	require.NoError(t, err)
	knows("new@example.com", true)
	knows("gone@example.com", false)
}

// TestABucketThatWasLostIsFilledAgainAndRefusesNobodyMeanwhile: the broker has lost its data, and a bucket without
// addresses must not turn mail away for good.
func TestABucketThatWasLostIsFilledAgainAndRefusesNobodyMeanwhile(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	tenant(t, pool, "robot@example.com")
	directory := rawmail.NewDirectory(js)
	_, err := stream.EnsureRecipients(t.Context(), js, stream.Options{})
	require.NoError(t, err)
	_, err = directory.Knows(t.Context(), "robot@example.com")
	require.ErrorContains(t, err, "not filled yet")

	running(t, rawmail.NewKeeper(pool, js, stream.Options{}, nil).Run)
	filled := func() {
		require.Eventually(t, func() bool {
			known, err := directory.Knows(t.Context(), "robot@example.com")
			if err != nil {
				return false
			}
			require.True(t, known, "an address that receives is never unknown")
			unknown, err := directory.Knows(t.Context(), "nobody@example.com")
			return err == nil && !unknown
		}, patience, 10*time.Millisecond)
	}
	filled()
	require.NoError(t, js.DeleteKeyValue(t.Context(), stream.Recipients))
	filled()
	ctx, stop := context.WithCancel(t.Context())
	var asking errgroup.Group
	for range 4 { // between any two reads of one the bucket may be made anew, and filled
		asking.Go(func() error {
			for ctx.Err() == nil {
				if known, err := directory.Knows(ctx, "robot@example.com"); err == nil && !known {
					return errors.New("an address that receives was unknown")
				}
			}
			return nil
		})
	}
	for range 3 {
		require.NoError(t, js.DeleteKeyValue(t.Context(), stream.Recipients))
		_, err = stream.EnsureRecipients(t.Context(), js, stream.Options{}) // as another process does
		require.NoError(t, err)
		filled()
	}
	stop()
	require.NoError(t, asking.Wait())
}

func TestWhatIsNoRawMailIsADeadLetter(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "robot@example.com")
	long := strings.Repeat("x", 2000)
	for i, c := range []struct {
		header nats.Header
		body   string
		reason string
	}{
		{nats.Header{}, anyMail, "Fanmail-Rcpt-To is missing"},
		{nats.Header{rawmail.HeaderTo: {"robot@example.com"}}, "", "the mail is empty"},
		{nats.Header{rawmail.HeaderTo: {"nobody@example.com"}}, anyMail, "no agent has an address"},
		{nats.Header{rawmail.HeaderTo: {"robot@example.com"}, rawmail.HeaderClient: {"here"}}, anyMail, "is not an IP address"},
		{nats.Header{rawmail.HeaderTo: {"robot@example.com"}, rawmail.HeaderReceived: {"today"}}, anyMail, "is not a time"},
		{nats.Header{rawmail.HeaderTo: {"robot@example.com"}, rawmail.HeaderObject: {"none"}}, "", "object none does not exist"},
		{nats.Header{rawmail.HeaderTo: {long}}, anyMail, "the limit is 1024"},
		{nats.Header{rawmail.HeaderTo: make([]string, 1001)}, anyMail, "the limit is 1000"},
		{nats.Header{rawmail.HeaderTo: {"robot@example.com"}}, strings.Repeat("x", 100_000), "the limit is 65536 (FANMAIL_MAX_MESSAGE_BYTES)"},
	} {
		msg := nats.NewMsg(stream.RawPrefix + fmt.Sprint("node-", i))
		msg.Header, msg.Data = c.header, []byte(c.body)
		_, err := js.PublishMsg(t.Context(), msg)
		require.NoError(t, err)
	}
	takingRaw(t, pool, js, ingest.Options{MaxMessageBytes: 65536})
	dead, err := js.Stream(t.Context(), stream.Dead)
	require.NoError(t, err)
	reason := func(i int) string {
		m, err := dead.GetLastMsgForSubject(t.Context(), fmt.Sprint("mail.dead.raw.node-", i))
		if err != nil {
			return ""
		}
		return m.Header.Get(stream.HeaderReason)
	}
	for i, want := range []string{
		"Fanmail-Rcpt-To is missing", "the mail is empty", "no agent has an address", "is not an IP address", "is not a time", "object none does not exist",
		"the limit is 1024", "the limit is 1000", "the limit is 65536 (FANMAIL_MAX_MESSAGE_BYTES)",
	} {
		require.Eventually(t, func() bool { return reason(i) != "" }, patience, 10*time.Millisecond, want)
		require.Contains(t, reason(i), want)
	}
	emptied(t, js)
	_, _, messages, _ := counts(t, pool)
	require.Zero(t, messages)
}

func TestAFullStreamOfRawMailsRefusesMoreAndLosesNone(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "robot@example.com")
	s, err := js.Stream(t.Context(), stream.Raw)
	require.NoError(t, err)
	small := s.CachedInfo().Config
	small.MaxBytes = 64 << 10
	_, err = js.UpdateStream(t.Context(), small)
	require.NoError(t, err)
	w := hello(t, publishing(t, js, nil))
	accepted := 0
	for full := false; !full; {
		w.begin("robot@example.com")
		w.say(354, "DATA")
		w.send(fmt.Sprintf("Message-ID: <%d@example.org>\r\n\r\n%s\r\n.\r\n", accepted, strings.Repeat("x", 9000)))
		code, text, err := w.r.ReadResponse(0)
		require.NoError(t, err)
		if full = code != 250; full {
			require.Equal(t, 452, code, text)
		} else {
			accepted++
		}
	}
	require.Positive(t, accepted)
	takingRaw(t, pool, js, ingest.Options{})
	eventually(t, pool, accepted)
}
