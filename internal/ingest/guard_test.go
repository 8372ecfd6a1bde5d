package ingest_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/textproto"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
)

func TestUnknownRecipientsEndTheConnection(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	_, s := quick(t, ingest.Options{Tarpit: time.Millisecond, Registerer: reg})
	w := hello(t, s)
	w.say(250, "MAIL FROM:<s@example.org>")
	for i := range 20 {
		w.say(550, fmt.Sprintf("RCPT TO:<guess-%d@example.com>", i))
	}
	require.Contains(t, w.expect(421), "limit 20")
	w.closed()
	require.EqualValues(t, 10, metric(t, reg, "fanmail_ingest_delayed_replies_total"))
}

func TestOneConnectionAsksTheDatabaseSeldom(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{Tarpit: time.Millisecond})
	for address, most := range map[string]int64{"nobody@example.com": 20, "a@example.com": 2} { // the agent, and its tenant's quota
		before := pool.Stat().AcquireCount()
		w := hello(t, s)
		w.say(250, "MAIL FROM:<s@example.org>")
		many := strings.Repeat("RCPT TO:<"+address+">\r\n", 33_300)
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, _ = io.WriteString(w.conn, many) // the server closes the connection
		}()
		w.closed()
		_ = w.conn.Close()
		<-written
		require.LessOrEqual(t, pool.Stat().AcquireCount()-before, most, address)
	}
}

// Errors of any kind count, also where go-smtp alone gives them.
func TestBadCommandsEndTheConnection(t *testing.T) {
	t.Parallel()
	_, s := quick(t, ingest.Options{Tarpit: time.Millisecond})
	w := hello(t, s)
	for range 20 {
		w.say(502, "EXPN list")
	}
	require.Contains(t, w.expect(421), "errors (limit 20)")
	w.closed()
}

func TestCommandsWithoutAMailEndTheConnection(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{MaxRecipients: 3})
	for name, lines := range map[string][]string{
		"NOOP": {"NOOP"}, "RSET": {"RSET"}, "EHLO": {"EHLO again"}, "VRFY": {"VRFY a"},
		"recipients": {"MAIL FROM:<s@example.org>", "RCPT TO:<a@example.com>", "RCPT TO:<A@example.com>", "RSET"},
	} {
		w := hello(t, s)
		sent := 1
		for ; sent < 103; sent++ {
			_, _ = io.WriteString(w.conn, lines[(sent-1)%len(lines)]+"\r\n")
			_, msg, err := w.r.ReadResponse(2)
			require.NoError(t, err, "%s %d %s", name, sent, msg)
		}
		require.Contains(t, w.expect(421), "limit 103", name)
		w.closed()
	}
	w := hello(t, s)
	w.begin("a@example.com", "a@example.com", "a@example.com")
	for range 1000 {
		w.say(452, "RCPT TO:<a@example.com>")
	}
	require.Contains(t, w.expect(421), "limit 1000")
	w.closed()
	// A mail begins the count anew.
	w = hello(t, s)
	for range 3 {
		for range 90 {
			w.say(250, "NOOP")
		}
		w.begin("a@example.com")
		w.data(250, plain)
	}
	require.Len(t, mails(t, pool), 1)
}

func TestOneClientHasAShareOfTheConnections(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	pool, s := quick(t, ingest.Options{MaxConnections: 50, EvictAfter: time.Hour, Registerer: reg})
	for range 25 {
		from(t, s, "127.0.0.2").expect(220)
	}
	over := from(t, s, "127.0.0.2")
	require.Contains(t, over.expect(421), "from your network (limit 25)")
	over.closed()
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(250, plain)
	require.Len(t, mails(t, pool), 1)
}

func TestNewConnectionsOfSomeClientsDoNotKeepOthersOut(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{MaxConnections: 50, EvictAfter: time.Hour})
	first := from(t, s, "127.0.0.2")
	first.expect(220)
	for i := range 49 {
		from(t, s, fmt.Sprintf("127.0.0.%d", 2+i/24)).expect(220) // 25, 24 and 1
	}
	w := hello(t, s)
	require.Contains(t, first.expect(421), "Idle", "the oldest connection of the client with the most gives way")
	w.begin("a@example.com")
	w.data(250, plain)
	require.Len(t, mails(t, pool), 1)
}

// from connects with an address of its own.
func from(t testing.TB, s *ingest.Server, address string) *wire {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(3*patience)))
	return &wire{t, c, &textproto.NewConn(c).Reader}
}

// The attackers hold every connection that they get, and 15 mails of 36 MB without an end. Honest mail is
// accepted, from another address and from theirs, and the memory stays small.
func TestHonestMailArrivesWhileOneClientHoardsConnectionsAndSpace(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	dir := t.TempDir()
	pool, s := quick(t, ingest.Options{SpoolDir: dir, Registerer: reg, EvictAfter: 100 * time.Millisecond})
	hoard(t, s, "127.0.0.3")
	for i := range 499 {
		_, err := from(t, s, fmt.Sprintf("127.0.1.%d", 1+i%2)).r.ReadLine()
		require.NoError(t, err)
	}
	for i := range 20 {
		address := []string{"127.0.0.1", "127.0.0.3", "127.0.1.1"}[i%3]
		require.Eventually(t, func() bool { return accepted(from(t, s, address), i) }, patience, 50*time.Millisecond, address)
	}
	require.Len(t, mails(t, pool), 20)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "temporary files have no names")
	require.Positive(t, metric(t, reg, "fanmail_ingest_evicted_total"))
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	require.Less(t, m.HeapAlloc, uint64(256<<20))
}

// hoard sends 15 mails without their end, as much of each as the server takes.
func hoard(t *testing.T, s *ingest.Server, address string) {
	t.Helper()
	line := strings.Repeat("0123456789abcdef\r\n", 2000)
	for range 15 {
		w := from(t, s, address)
		w.expect(220)
		w.say(250, "EHLO x")
		w.begin("a@example.com")
		w.say(354, "DATA")
		for range 1000 {
			if _, err := io.WriteString(w.conn, line); err != nil {
				break // cut off for a newer one
			}
		}
	}
}

// accepted sends one mail; false if it was refused for now.
func accepted(w *wire, i int) bool {
	for _, step := range []struct {
		line string
		code int
	}{
		{"", 220},
		{"EHLO x\r\n", 250},
		{"MAIL FROM:<s@example.org>\r\n", 250},
		{"RCPT TO:<a@example.com>\r\n", 250},
		{"DATA\r\n", 354},
		{fmt.Sprintf("Message-ID: <%d@honest>\r\nFrom: x@example.org\r\n\r\nhi\r\n.\r\n", i), 250},
	} {
		if _, err := io.WriteString(w.conn, step.line); err != nil {
			return false
		}
		if _, _, err := w.r.ReadResponse(step.code); err != nil {
			return false
		}
	}
	return true
}

func TestAStalledTransferGivesUpItsSpace(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	pool, s := quick(t, ingest.Options{MaxMessageBytes: 200_000, MaxBufferedBytes: 200_000, EvictAfter: 50 * time.Millisecond, Registerer: reg})
	stalled := from(t, s, "127.0.0.4")
	stalled.expect(220)
	stalled.say(250, "EHLO x")
	stalled.begin("a@example.com")
	stalled.say(354, "DATA")
	stalled.send(strings.Repeat("0123456789\r\n", 12_000))
	require.Eventually(t, func() bool { return metric(t, reg, "fanmail_ingest_spooled_bytes") > 100_000 }, patience, time.Millisecond,
		"the server has what leaves no room for the next")
	big := plain + strings.Repeat("0123456789\r\n", 10_000)
	w := hello(t, s)
	require.Eventually(t, func() bool {
		w.begin("a@example.com")
		w.say(354, "DATA")
		w.send(big + ".\r\n")
		_, _, err := w.r.ReadResponse(250)
		return err == nil
	}, patience, 5*time.Millisecond)
	require.Contains(t, stalled.expect(421), "slowly")
	stalled.closed()
	got := mails(t, pool)
	require.Len(t, got, 1)
	require.Equal(t, big, string(got[0].Raw), "what was in a file is kept as received")
}

// A client that dies inside the last chunk has not sent a mail.
func TestAChunkThatBreaksOffIsNoMail(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	pool, s := quick(t, ingest.Options{Registerer: reg})
	for _, size := range []int{100, 10_000} {
		w := hello(t, s)
		w.begin("a@example.com")
		w.send(fmt.Sprintf("BDAT %d LAST\r\n%s", size, plain[:50]))
		require.NoError(t, w.conn.Close())
	}
	require.Eventually(t, func() bool { return metric(t, reg, "fanmail_ingest_refused_total") == 2 }, patience, time.Millisecond)
	evs, _, _, _ := counts(t, pool)
	require.Zero(t, evs)
}

func TestChunksAndCommandsMayComeInOnePacket(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	long := "Message-ID: <long@x>\r\n" + plain[:len(plain)-2] + strings.Repeat("x\n.\r\n", 3000)
	begin := "MAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.com>\r\n"
	w.send(fmt.Sprintf("%sBDAT %d\r\n%sBDAT %d LAST\r\n%s%sDATA\r\n", begin, len(long), long, len(long), long, begin) + "From: x@example.org\r\n\r\nnext\r\r\n.\r\nNOOP\r\n")
	for _, code := range []int{250, 250, 250, 250, 250, 250, 354, 250, 250} {
		w.expect(code)
	}
	got := mails(t, pool)
	require.Len(t, got, 2)
	require.Equal(t, long+long, string(got[0].Raw))
	require.Equal(t, "From: x@example.org\r\n\r\nnext\r\r\n", string(got[1].Raw))
}

func TestNothingSentBeforeTLSCountsAfterIt(t *testing.T) {
	t.Parallel()
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	certs.Close()
	pool, s := quick(t, ingest.Options{TLS: &tls.Config{Certificates: certs.TLS.Certificates, MinVersion: tls.VersionTLS12}})
	w := hello(t, s)
	w.say(250, "MAIL FROM:<plain@example.org>")
	w.send("STARTTLS\r\nRCPT TO:<a@example.com>\r\n")
	w.expect(220)
	c := tls.Client(w.conn, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, c.HandshakeContext(t.Context()))
	secure := &wire{t, c, &textproto.NewConn(c).Reader}
	secure.say(502, "MAIL FROM:<s@example.org>")
	require.NotContains(t, secure.say(250, "EHLO y"), "STARTTLS")
	secure.say(502, "STARTTLS")
	secure.begin("a@example.com")
	secure.data(250, plain)
	secure.say(221, "QUIT")
	secure.closed()
	require.Equal(t, "sender@example.org", mails(t, pool)[0].Data.Envelope.From)
}
