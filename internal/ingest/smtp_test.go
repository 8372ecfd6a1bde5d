package ingest_test

import (
	"context"
	"crypto/tls"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestUnknownRecipientsAreRefusedAndNewOnesKnownAtOnce(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	w.say(250, "MAIL FROM:<>")
	for _, a := range []string{"b@example.com", "\xff@example.com", "a@example.com.", strings.Repeat("x", 1100) + "@example.com"} {
		require.Contains(t, w.say(550, "RCPT TO:<"+a+">"), "5.1.1")
	}
	tenant(t, pool, "b@example.com", "grüße@example.com")
	w.say(250, "RCPT TO:<b@example.com>")
	w.say(250, "RCPT TO:<grüße@EXAMPLE.com>")
	w.data(250, plain)
	got := mails(t, pool)
	require.Len(t, got, 2)
	require.Empty(t, got[0].Data.Envelope.From)
}

func TestAMailOverTheLimitIsRefusedAndTheSessionGoesOn(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{MaxMessageBytes: 64 << 10})
	w := hello(t, s)
	require.Contains(t, w.say(552, "MAIL FROM:<s@example.org> SIZE=100000"), "5.3.4")
	w.begin("a@example.com")
	require.Contains(t, w.data(552, plain+strings.Repeat("0123456789\r\n", 8000)), "5.3.4")
	w.begin("a@example.com")
	require.Contains(t, w.bdat(552, make([]byte, 70_000)), "5.3.4")
	w.say(250, "MAIL FROM:<s@example.org> SIZE=1000")
	w.say(250, "RCPT TO:<a@example.com>")
	w.data(250, plain)
	require.Len(t, mails(t, pool), 1)

	// One that never ends is not read for ever.
	w.begin("a@example.com")
	w.say(354, "DATA")
	endless := strings.Repeat("0123456789\r\n", 1000)
	for {
		if _, err := w.conn.Write([]byte(endless)); err != nil {
			break
		}
	}
}

func TestADatabaseThatIsAwayAnswers451(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	tenant(t, pool, "a@example.com")
	s := serve(t, pool, ingest.Options{})
	away := serve(t, pgtest.Open(t, "postgres://x@127.0.0.1:1/x"), ingest.Options{})

	w := hello(t, away)
	w.say(250, "MAIL FROM:<s@example.org>")
	require.Contains(t, w.say(451, "RCPT TO:<a@example.com>"), "4.3.0")

	w = hello(t, s)
	w.begin("a@example.com")
	admin := pgtest.Open(t, pgtest.EmptyURL(t))
	_, err := admin.Exec(context.Background(), "DROP DATABASE "+pool.Config().ConnConfig.Database+" WITH (FORCE)")
	require.NoError(t, err)
	require.Contains(t, w.data(451, plain), "4.3.0")
	w.say(250, "NOOP")
}

// The commit is the last thing that can fail. Nothing of the mail is there
// then, and the client's second try makes the event.
func TestAFailedCommitAnswers451AndLeavesNothing(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	ctx := context.Background()
	_, err := pool.Exec(ctx, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no commit today'; END $$;
		CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON fanmail.outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()`)
	require.NoError(t, err)
	w := hello(t, s)
	w.begin("a@example.com")
	require.Contains(t, w.data(451, plain), "4.3.0")
	evs, out, messages, raws := counts(t, pool)
	require.Zero(t, evs+out+messages+raws)
	_, err = pool.Exec(ctx, `DROP TRIGGER fail ON fanmail.outbox`)
	require.NoError(t, err)
	w.begin("a@example.com")
	w.data(250, plain)
	require.Len(t, mails(t, pool), 1)
}

// Whoever redirects a mail keeps its Message-ID and adds Resent fields.
func TestARedirectedMailIsAMailOfItsOwn(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	for i, resent := range []string{
		"", "Resent-From: ben@example.org\r\nResent-Date: Tue, 3 Jan 2026 10:00:00 +0100\r\n", "Resent-From: ben@example.org\r\nResent-Date: Wed, 4 Jan 2026 10:00:00 +0100\r\n",
		"Resent-To: a@example.com\r\n", "Resent-Message-ID: <r@example.org>\r\n",
	} {
		for range 2 {
			w.begin("a@example.com")
			w.bdat(250, []byte(resent+plain))
			evs, _, _, _ := counts(t, pool)
			require.Equal(t, i+1, evs, "%q", resent)
		}
	}
}

func TestTheSameMailTwiceIsOneEvent(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	pool, s := quick(t, ingest.Options{Registerer: reg})
	tenant(t, pool, "b@example.net")
	w := hello(t, s)
	send := func(raw string, to ...string) int {
		w.begin(to...)
		w.bdat(250, []byte(raw))
		evs, out, messages, _ := counts(t, pool)
		require.Equal(t, evs, out)
		require.Equal(t, evs, messages)
		return evs
	}
	require.Equal(t, 1, send(plain, "a@example.com"))
	require.Equal(t, 1, send(plain, "a@example.com"), "again")
	require.Equal(t, 1, send("Received: from relay\r\n\tby mx; now\r\nReturn-Path: <s@example.org>\r\nX-Trace: 1\r\n"+plain, "a@example.com"), "by another way")
	require.Equal(t, 1, send(strings.Replace(plain, "To: a@", "To:\r\n  a@", 1)+"\r\n", "A@example.com"), "folded anew")
	require.Equal(t, 2, send(plain, "a@example.com", "b@example.net"), "for another agent")
	require.Equal(t, 3, send(strings.Replace(plain, "Hello", "Goodbye", 1), "a@example.com"), "a Message-ID that was used before")
	require.Equal(t, 4, send(strings.Replace(plain, "Gr=C3=BC", "Gr=C3=BD", 1), "a@example.com"), "another subject")
	require.Equal(t, 5, send("a stray line\r\n"+plain, "a@example.com"))
	require.Equal(t, 6, send("another stray line\r\n"+plain, "a@example.com"), "what the header cannot show tells two mails apart")

	noID := "From: x@example.org\r\nDate: Mon, 2 Jan 2026 15:04:05 +0100\r\n\r\nHi\r\n"
	require.Equal(t, 7, send(noID, "a@example.com"))
	require.Equal(t, 7, send(noID, "a@example.com"), "the same bytes with a date")
	require.Equal(t, 8, send("Received: by mx\r\n"+noID, "a@example.com"), "without a Message-ID nothing else is the same mail")
	require.Equal(t, 9, send("From: x@example.org\r\n\r\ndisk full\r\n", "a@example.com"))
	require.Equal(t, 10, send("From: x@example.org\r\n\r\ndisk full\r\n", "a@example.com"), "nothing says that these are one mail")
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.agents (address, tenant_id) SELECT 'c@example.com', tenant_id FROM fanmail.agents WHERE address = 'a@example.com'`)
	require.NoError(t, err)
	require.Equal(t, 11, send(plain, "c@example.com"), "for another agent of the tenant")
	require.Equal(t, 11, send(plain, "a@example.com", "c@example.com"))

	got := mails(t, pool)
	require.NotEqual(t, got[0].Message, got[1].Message)
	require.EqualValues(t, 7, metric(t, reg, "fanmail_ingest_duplicates_total"))
	require.EqualValues(t, 2, metric(t, reg, "fanmail_ingest_parse_errors_total"))
	require.EqualValues(t, 16, metric(t, reg, "fanmail_ingest_mails_accepted_total"))
}

// metric sums a metric over its labels.
func metric(t testing.TB, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
			return sum
		}
	}
	require.Fail(t, "no metric "+name)
	return 0
}

func TestOneTransactionForManyAgentsKeepsThemApart(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	other := tenant(t, pool, "bcc@example.net", "c@example.net")
	w := hello(t, s)
	w.begin("a@example.com", "BCC@example.net", "c@example.net", "bcc@EXAMPLE.net")
	w.data(250, plain)
	got := mails(t, pool)
	require.Len(t, got, 3)
	require.Equal(t, []string{"a@example.com"}, got[0].Data.Envelope.To)
	require.Equal(t, []string{"BCC@example.net", "bcc@EXAMPLE.net"}, got[1].Data.Envelope.To)
	for _, m := range got {
		require.Equal(t, got[0].RawID, m.RawID, "the raw mail is kept once")
		if m.Agent != "bcc@example.net" {
			require.NotContains(t, strings.ToLower(string(m.Envelope)), "bcc@example.net")
		}
	}
	require.NotEqual(t, got[0].Tenant, got[1].Tenant)
	require.NotEqual(t, got[0].Data.ConversationID, got[1].Data.ConversationID, "a conversation is a tenant's own")
	require.Equal(t, got[1].Data.ConversationID, got[2].Data.ConversationID)
	require.NotEqual(t, got[1].Message, got[2].Message)
	require.NotEqual(t, got[1].Event, got[2].Event)
	_, _, _, raws := counts(t, pool)
	require.Equal(t, 1, raws)
	require.NotEmpty(t, other)
}

func TestAnswersJoinTheConversation(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	for _, head := range []string{
		"Message-ID: <1@x>\r\n",
		"Message-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\n",
		"Message-ID: <3@x>\r\nReferences: <1@x>\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\n",
		"Message-ID: <4@x>\r\n",
		"X: no id\r\n",
	} {
		w.begin("a@example.com")
		w.data(250, head+"From: x@example.org\r\n\r\nhi")
	}
	got := mails(t, pool)
	id := func(i int) string { return got[i].Data.ConversationID }
	require.Regexp(t, `^conv_[0-9a-f]{32}$`, id(0))
	require.Equal(t, id(0), id(1))
	require.Equal(t, id(0), id(2))
	require.NotEqual(t, id(0), id(3))
	require.NotEqual(t, id(3), id(4))
}

func TestExtensionsAndSTARTTLS(t *testing.T) {
	t.Parallel()
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	certs.Close()
	pool, s := quick(t, ingest.Options{Domain: "mx.example.com", MaxMessageBytes: 12345, TLS: &tls.Config{Certificates: certs.TLS.Certificates, MinVersion: tls.VersionTLS12}})
	w := dial(t, s)
	require.Contains(t, w.expect(220), "mx.example.com")
	caps := w.say(250, "EHLO x")
	for _, c := range []string{"SIZE 12345", "PIPELINING", "8BITMIME", "SMTPUTF8", "STARTTLS"} {
		require.Contains(t, caps, c)
	}
	c, err := smtp.DialStartTLS(s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	require.NoError(t, c.Mail("s@example.org", &smtp.MailOptions{UTF8: true, Body: smtp.Body8BitMIME}))
	require.NoError(t, c.Rcpt("a@example.com", nil))
	d, err := c.Data()
	require.NoError(t, err)
	_, err = d.Write([]byte(plain))
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, c.Quit())
	require.Len(t, mails(t, pool), 1)

	_, plainServer := quick(t, ingest.Options{})
	w = dial(t, plainServer)
	w.expect(220)
	require.NotContains(t, w.say(250, "EHLO x"), "STARTTLS")
}

func TestPipelinedCommandsAreAnsweredInTurn(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	w.send("MAIL FROM:<s@example.org>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n")
	for _, code := range []int{250, 550, 250, 354} {
		w.expect(code)
	}
	w.send(plain + ".\r\nQUIT\r\n")
	w.expect(250)
	w.expect(221)
	require.Len(t, mails(t, pool), 1)
}

func TestOptionsThatCannotBeUsedAreNamed(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]ingest.Options{
		"Addr":             {Addr: "nowhere"},
		"Domain":           {Domain: "two words"},
		"MaxMessageBytes":  {MaxMessageBytes: 1},
		"MaxRecipients":    {MaxRecipients: 5000},
		"MaxConnections":   {MaxConnections: -1},
		"MaxBufferedBytes": {MaxBufferedBytes: 1},
		"ReadTimeout":      {ReadTimeout: -1},
		"PublicURL":        {PublicURL: "mail.example.com"},
	} {
		if o.Addr == "" {
			o.Addr = "127.0.0.1:0"
		}
		_, err := ingest.NewServer(nil, nil, o)
		var wrong *ingest.OptionError
		require.ErrorAs(t, err, &wrong, name)
		require.Equal(t, name, wrong.Setting)
		require.Contains(t, err.Error(), name)
	}
	taken := serve(t, nil, ingest.Options{})
	s, err := ingest.NewServer(nil, nil, ingest.Options{Addr: taken.Addr().String()})
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(context.Background()), "Addr")
}

// TestMailForADeletedTenantIsRefused at RCPT, and after the data where the tenant was deleted meanwhile.
func TestMailForADeletedTenantIsRefused(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	ten := tenant(t, pool, "b@example.com")
	suspend := func(to bool) { require.NoError(t, mailbox.Suspend(t.Context(), pool, ten, to)) }
	w := hello(t, s)
	w.begin("b@example.com")
	suspend(true)
	require.Contains(t, w.data(550, plain), "5.2.1")
	w.say(250, "MAIL FROM:<>")
	require.Contains(t, w.say(550, "RCPT TO:<b@example.com>"), "5.2.1 This address is disabled and takes no mail")
	require.Empty(t, mails(t, pool))
	suspend(false)
	w.say(250, "RCPT TO:<b@example.com>")
	w.data(250, plain)
	require.Len(t, mails(t, pool), 1)
}
