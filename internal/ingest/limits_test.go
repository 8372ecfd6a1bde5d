package ingest_test

import (
	"context"
	"fmt"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestConnectionsAndRecipientsAreLimited(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{MaxConnections: 2, MaxRecipients: 2, EvictAfter: time.Hour})
	tenant(t, pool, "b@example.net", "c@example.net")
	first, second := hello(t, s), hello(t, s)
	third := dial(t, s)
	require.Contains(t, third.expect(421), "4.3.2")
	third.closed()
	second.say(221, "QUIT")
	second.closed()
	require.Eventually(t, func() bool {
		w := dial(t, s)
		_, _, err := w.r.ReadResponse(220)
		if err == nil {
			w.say(221, "QUIT")
		}
		return err == nil
	}, patience, 5*time.Millisecond, "a closed connection makes room")
	first.begin("a@example.com", "b@example.net")
	require.Contains(t, first.say(452, "RCPT TO:<c@example.net>"), "4.5.3")
	first.data(250, plain)
	require.Len(t, mails(t, pool), 2)
}

func TestSlowClientsAreLetGo(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{ReadTimeout: 200 * time.Millisecond})
	idle := hello(t, s)
	idle.expect(421)
	idle.closed()
	stuck := hello(t, s)
	stuck.begin("a@example.com")
	stuck.say(354, "DATA")
	stuck.send("From: x@example.org\r\n\r\nhalf a mail\r\n")
	stuck.expect(421)
	// What comes after a broken transfer is no command.
	_, _ = stuck.conn.Write([]byte("NOOP\r\n.\r\nMAIL FROM:<s@example.org>\r\n"))
	_, _, err := stuck.r.ReadResponse(250)
	require.Error(t, err)
	require.NotErrorAs(t, err, new(*textproto.Error), "no answer at all")
	evs, _, _, _ := counts(t, pool)
	require.Zero(t, evs)
}

func TestAnOverlongCommandEndsTheConnection(t *testing.T) {
	t.Parallel()
	_, s := quick(t, ingest.Options{})
	w := hello(t, s)
	_, _ = w.conn.Write([]byte("NOOP " + strings.Repeat("x", 1<<20)))
	w.closed()
}

func TestABrokenTransferLeavesNothing(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	w.begin("a@example.com")
	w.send("BDAT 5\r\nhello")
	w.expect(250)
	w.say(250, "RSET")
	w.closed() // the client may come again
	w = hello(t, s)
	w.begin("a@example.com")
	w.say(354, "DATA")
	w.send("half")
	require.NoError(t, w.conn.Close())
	w = hello(t, s)
	w.begin("a@example.com")
	w.bdat(250, []byte(plain))
	require.Len(t, mails(t, pool), 1)
}

func TestUnfinishedMailIsBounded(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{MaxMessageBytes: 100_000, MaxBufferedBytes: 100_000, EvictAfter: time.Hour})
	holder := hello(t, s)
	holder.begin("a@example.com")
	holder.send(fmt.Sprintf("BDAT 90000\r\n%90000s", " "))
	holder.expect(250)
	w := hello(t, s)
	w.begin("a@example.com")
	require.Contains(t, w.data(452, plain+strings.Repeat("0123456789\r\n", 6000)), "4.3.1")
	require.NoError(t, holder.conn.Close())
	require.Eventually(t, func() bool {
		w.begin("a@example.com")
		w.say(354, "DATA")
		w.send(plain + strings.Repeat("0123456789\r\n", 6000) + ".\r\n")
		_, _, err := w.r.ReadResponse(250)
		return err == nil
	}, patience, 5*time.Millisecond)
	require.Len(t, mails(t, pool), 1)
}

func TestStoppingEndsOpenTransactionsAndClosesTheRest(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com")
	s, err := ingest.NewServer(pool, nil, ingest.Options{Addr: "127.0.0.1:0", Drain: patience})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	idle, open := hello(t, s), hello(t, s)
	open.begin("a@example.com")
	open.say(354, "DATA")
	cancel()
	idle.expect(421)
	idle.closed()
	open.send(plain + ".\r\n")
	open.expect(250)
	open.closed()
	require.NoError(t, <-done)
	require.Len(t, mails(t, pool), 1)
}

func TestStoppingDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com")
	s, err := ingest.NewServer(pool, nil, ingest.Options{Addr: "127.0.0.1:0", Drain: time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w := hello(t, s)
	w.begin("a@example.com")
	w.say(354, "DATA")
	cancel()
	require.NoError(t, <-done)
	w.closed()
}
