package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// refuseMails makes the database fail the mails of agents such as bad-40001@example.net with that code: in the statement,
// or at COMMIT for those of late-40001@example.net. 57P01 ends the connection.
const refuseMails = `
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.agent_id LIKE '%-57p01@%' THEN
		PERFORM pg_terminate_backend(pg_backend_pid());
	ELSIF NEW.agent_id LIKE TG_ARGV[0] || '-%' THEN
		RAISE EXCEPTION 'refused' USING ERRCODE = upper(substring(NEW.agent_id FROM '-(.....)@'));
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON fanmail.messages FOR EACH ROW EXECUTE FUNCTION fail('bad');
CREATE CONSTRAINT TRIGGER fail_late AFTER INSERT ON fanmail.messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail('late');`

// TestAFailureOfEachKindSpoilsNoOtherMail sends mails of many sessions at once, of which the database fails some.
func TestAFailureOfEachKindSpoilsNoOtherMail(t *testing.T) {
	t.Parallel()
	kinds := []string{
		"bad-23514", "bad-23505", "bad-22001", "bad-22021", "bad-22p05", "bad-53100", // constraints, length, encoding, a full disk
		"bad-40p01", "bad-40001", "bad-57014", "bad-57p01", // deadlock, serialization, time-out, a lost connection
		"late-23514", "late-40001",
	}
	pool, s := quick(t, ingest.Options{})
	agents := make([]string, len(kinds))
	for i, kind := range kinds {
		agents[i] = kind + "@example.net"
	}
	tenant(t, pool, agents...)
	_, err := pool.Exec(t.Context(), refuseMails)
	require.NoError(t, err)
	release := held(t, pool, `LOCK TABLE fanmail.messages IN SHARE MODE`)
	var wg sync.WaitGroup
	for i := range 3 * len(kinds) {
		w := hello(t, s)
		agent, code := "a@example.com", 250
		if i%3 == 1 {
			agent, code = agents[i/3], 451
		}
		w.begin(agent)
		w.say(354, "DATA")
		w.send(mailOf(fmt.Sprintf("%d@x", i)) + ".\r\n")
		wg.Go(func() { w.expect(code) })
	}
	release()
	wg.Wait()
	require.Len(t, mails(t, pool), 2*len(kinds))
	_, err = pool.Exec(t.Context(), `DROP FUNCTION fail CASCADE`)
	require.NoError(t, err)
	for i := range 3 * len(kinds) {
		agent := "a@example.com"
		if i%3 == 1 {
			agent = agents[i/3]
		}
		deliverTo(t, s, agent, mailOf(fmt.Sprintf("%d@x", i)))
	}
	require.Len(t, mails(t, pool), 3*len(kinds), "what was refused can be sent again, and what was accepted is known")
}

// TestContentThatTheDatabaseWouldRefuseIsAccepted sends bytes that are no text beside other mails.
func TestContentThatTheDatabaseWouldRefuseIsAccepted(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	release := held(t, pool, `LOCK TABLE fanmail.messages IN SHARE MODE`)
	var wg sync.WaitGroup
	odd := []string{"\x00", "\xff\xfe", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\r"}
	for i, part := range odd {
		for j, raw := range []string{
			"Message-ID: <%[1]d%[2]s@x>\r\n\r\ntext\r\n", "Message-ID: <%d@x>\r\nSubject: %s\r\n\r\ntext\r\n", "Message-ID: <%d@x>\r\nReferences: <%s>\r\n\r\ntext\r\n",
			"Message-ID: <%d@x>\r\nX-%s: 1\r\n\r\ntext\r\n", "Message-ID: <%d@x>\r\n\r\n%s\r\n",
			"Message-ID: <%d@x>\r\nContent-Type: text/plain; name=\"%s\"\r\nContent-Disposition: attachment\r\n\r\ntext\r\n",
		} {
			w := hello(t, s)
			w.begin("a@example.com")
			raw := "From: s@example.org\r\n" + fmt.Sprintf(raw, 10*i+j, part)
			wg.Go(func() { w.bdat(250, []byte(raw)) })
		}
	}
	deliver := hello(t, s)
	deliver.begin("a@example.com")
	wg.Go(func() { deliver.data(250, plain) })
	release()
	wg.Wait()
	require.Len(t, mails(t, pool), 6*len(odd)+1)
}

// cutConn loses the answer to a COMMIT while armed has failures left, and the connection with it.
type cutConn struct {
	net.Conn

	armed *atomic.Int32
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.Contains(p[:n], []byte("COMMIT\x00")) && c.armed.Add(-1) >= 0 {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// cutting returns a pool whose connections can lose the answer to a COMMIT.
func cutting(t *testing.T, pool *pgxpool.Pool) (cut *pgxpool.Pool, armed *atomic.Int32) {
	t.Helper()
	armed = new(atomic.Int32)
	return wrapped(t, pool, func(c net.Conn) net.Conn { return &cutConn{c, armed} }), armed
}

// wrapped returns a pool to the same database whose network connections are wrapped, with other settings if any.
func wrapped(t *testing.T, pool *pgxpool.Pool, wrap func(net.Conn) net.Conn, settings ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(pool.Config().ConnString())
	require.NoError(t, err)
	pg.Configure(cfg)
	for _, set := range settings {
		set(cfg)
	}
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return wrap(c), err
	}
	other, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(other.Close)
	return other
}

// TestALostAnswerToCommitMakesNoSecondEvent loses the answer once, and then so often that the client must send the mail
// again. The mails that cannot be recognised have neither Message-ID nor Date.
func TestALostAnswerToCommitMakesNoSecondEvent(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com")
	cut, armed := cutting(t, pool)
	s := serve(t, cut, ingest.Options{})
	large := strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 5000)
	for i, raw := range []string{mailOf("1@x"), mailOf("2@x") + large, "Subject: no ids\r\n\r\ntext\r\n", "Subject: no ids\r\n\r\n" + large} {
		armed.Store(1)
		deliverTo(t, s, "a@example.com", raw)
		require.Negative(t, armed.Add(-1), "an answer was lost")
		require.Len(t, mails(t, pool), i+1)
	}
	armed.Store(2)
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(451, mailOf("3@x"))
	armed.Store(0)
	w.begin("a@example.com")
	w.data(250, mailOf("3@x"))
	require.Len(t, mails(t, pool), 5)
}

// TestMailsThatWaitForTheDatabaseAreNotInMemory lets more large mails wait for a lock than may be in memory at once.
func TestMailsThatWaitForTheDatabaseAreNotInMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	pool, s := quick(t, ingest.Options{})
	const n, size = 30, 4 << 20
	require.Greater(t, n*size, ingest.HeldLargeBytes)
	content := bytes.Repeat([]byte(strings.Repeat("0123456789abcdef", 4)[:62]+"\r\n"), size/64)
	clients := make([]*wire, n)
	for i := range clients {
		clients[i] = hello(t, s)
		clients[i].begin("a@example.com")
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	release := held(t, pool, `LOCK TABLE fanmail.agents IN ACCESS EXCLUSIVE MODE`)
	var wg sync.WaitGroup
	var answers atomic.Int32
	for i, w := range clients {
		head := mailOf(fmt.Sprintf("%d@x", i))
		w.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(head)+len(content), head))
		_, err := w.conn.Write(content)
		require.NoError(t, err)
		wg.Go(func() { w.expect(250); answers.Add(1) })
	}
	require.Eventually(t, func() bool { return s.Spooled() > n*size && s.HoldsParsedMails(n) }, patience, 5*time.Millisecond, "all are parsed")
	require.Zero(t, answers.Load(), "and wait")
	// Some are still being encoded. What they leave behind is not held.
	require.Eventually(t, func() bool {
		runtime.GC()
		runtime.ReadMemStats(&now)
		return now.HeapAlloc < before.HeapAlloc+n*ingest.ParsedBytes+size
	}, patience, 50*time.Millisecond, "%d bytes more than before", now.HeapAlloc-before.HeapAlloc)
	require.Zero(t, answers.Load())
	release()
	wg.Wait()
	require.Len(t, mails(t, pool), n)
}
