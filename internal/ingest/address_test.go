package ingest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

const shortMail = "From: Ann <ann@example.org>\r\nTo: robot@example.com\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\nDate: Fri, 2 Jan 2026 15:04:05 +0100\r\n\r\nhello\r\n"

func TestATagIsInTheEventAndMakesACopyOfItsOwn(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "robot@example.com", "robot+vip@example.com")
	s := serve(t, pool, ingest.Options{})
	w := hello(t, s)
	w.begin("Robot+Order.17@Example.com", "robot+order.17@example.com", "robot@example.com", "ROBOT@example.com", "robot+vip@example.com", "ROBOT+Order.17@example.com")
	w.data(250, shortMail)
	w.begin("robot+Order.17@example.com") // a sending server tries again
	w.data(250, shortMail)
	w.begin("robot+order.18@example.com") // the same mail, for another tag
	w.data(250, shortMail)
	type told struct {
		agent, recipient, tag string
		to                    []string
	}
	var got []told
	for _, m := range mails(t, pool) {
		got = append(got, told{m.Agent, m.Data.Recipient, m.Data.Tag, m.Data.Envelope.To})
	}
	require.Equal(t, []told{
		{"robot@example.com", "robot+Order.17@example.com", "Order.17", []string{"Robot+Order.17@Example.com", "ROBOT+Order.17@example.com"}},
		{"robot@example.com", "robot+order.17@example.com", "order.17", []string{"robot+order.17@example.com"}},
		{"robot@example.com", "robot@example.com", "", []string{"robot@example.com", "ROBOT@example.com"}},
		{"robot+vip@example.com", "robot+vip@example.com", "", []string{"robot+vip@example.com"}},
		{"robot@example.com", "robot+order.18@example.com", "order.18", []string{"robot+order.18@example.com"}},
	}, got)
}

func TestAnAgentOfADomainTakesWhatNoOtherDoes(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "*@example.com", "robot@example.com")
	s := serve(t, pool, ingest.Options{})
	w := hello(t, s)
	w.begin("Ann@example.com", "robot+x@example.com", "bob+y@example.com")
	w.say(550, "RCPT TO:<ann@sub.example.com>")
	w.say(550, "RCPT TO:<ann@example.org>")
	w.data(250, shortMail)
	var got [][3]string
	for _, m := range mails(t, pool) {
		got = append(got, [3]string{m.Agent, m.Data.Recipient, m.Data.Tag})
	}
	require.Equal(t, [][3]string{
		{"*@example.com", "ann@example.com", ""}, {"robot@example.com", "robot+x@example.com", "x"}, {"*@example.com", "bob+y@example.com", "y"},
	}, got)
}

func TestMailLoopsAreStopped(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "robot@example.com", "ann@example.com", "*@example.org")
	s := serve(t, pool, ingest.Options{})
	w := hello(t, s)
	const hop = "Received: from a.example by b.example; Fri, 2 Jan 2026 15:04:05 +0100\r\n"
	w.begin("robot@example.com")
	require.Contains(t, w.data(554, strings.Repeat(hop, 101)+shortMail), "5.4.6 Mail loop: the mail has 101 Received fields (limit 100)")
	for _, field := range []string{"Robot@Example.com", "<robot@example.com>", "x@example.net\r\nDelivered-To: robot@example.com"} {
		w.begin("robot@example.com")
		require.Contains(t, w.data(554, "Delivered-To: "+field+"\r\n"+shortMail), "5.4.6 Mail loop", field)
	}
	w.begin("bob@example.org")
	w.data(554, "Delivered-To: bob@example.org\r\n"+shortMail)
	require.Empty(t, mails(t, pool))

	w.begin("robot@example.com", "ann@example.com") // others still get it
	w.data(250, "Delivered-To: robot@example.com\r\n"+shortMail)
	w.begin("robot@example.com", "eve@example.org")
	w.data(250, strings.Repeat(hop, 100)+"Delivered-To: bob@example.org\r\n"+shortMail)
	var got []string
	for _, m := range mails(t, pool) {
		got = append(got, m.Data.Recipient)
	}
	require.Equal(t, []string{"ann@example.com", "robot@example.com", "eve@example.org"}, got)
}

func TestPostmasterAndAbuseGoToTheOperatorsAgent(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "desk@ops.example", "robot@example.com", "*@example.org")
	id := tenant(t, pool)
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.domains (name, tenant_id, token, verified_at) VALUES ('example.net', $1, 'x', now()), ('claimed.example', $1, 'x', NULL)`, id)
	require.NoError(t, err)
	without := hello(t, serve(t, pool, ingest.Options{Domain: "mx.example"}))
	without.say(250, "MAIL FROM:<>")
	without.say(550, "RCPT TO:<postmaster>")
	without.say(550, "RCPT TO:<postmaster@example.com>")
	without.say(250, "RCPT TO:<postmaster@example.org>")

	w := hello(t, serve(t, pool, ingest.Options{Domain: "mx.example", Postmaster: "desk@ops.example"}))
	w.say(250, "MAIL FROM:<>")
	for _, to := range []string{"Postmaster", "POSTMASTER@Example.com", "abuse@example.com", "postmaster@sub.example.net", "abuse@example.org"} {
		w.say(250, "RCPT TO:<"+to+">")
	}
	for _, to := range []string{"abuse", "postmaster@elsewhere.example", "abuse@claimed.example", "webmaster@example.com", "postmaster@", "root"} {
		w.send("RCPT TO:<" + to + ">\r\n")
		_, _, err := w.r.ReadResponse(5)
		require.NoError(t, err, to)
	}
	w.data(250, shortMail+"RCPT TO:<postmaster>\r\n")
	w.say(250, "MAIL FROM:<>")
	w.send("rcpt to:<POSTMASTER> \r\nRSET\r\n")
	w.expect(250)
	w.expect(250)
	// What looks like the command within a chunk is a mail.
	w.begin("robot@example.com")
	chunk := "Subject: x\r\n\r\nRCPT TO:<postmaster>\r\n"
	w.bdat(250, []byte(chunk))
	var got [][2]string
	for _, m := range mails(t, pool) {
		got = append(got, [2]string{m.Agent, m.Data.Recipient})
	}
	require.Equal(t, [][2]string{
		{"desk@ops.example", "postmaster@mx.example"},
		{"desk@ops.example", "postmaster@example.com"},
		{"desk@ops.example", "abuse@example.com"},
		{"desk@ops.example", "postmaster@sub.example.net"},
		{"*@example.org", "abuse@example.org"},
		{"robot@example.com", "robot@example.com"},
	}, got)
	require.Equal(t, chunk, string(mails(t, pool)[5].Raw))
}
