package ingest_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gomilter "github.com/d--j/go-milter"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/milter"
	"github.com/fanmail-dev/fanmail/internal/rawmail"
	"github.com/fanmail-dev/fanmail/test/miltertest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// filtered gives a server with the agents a@ and b@example.com that asks the milters.
func filtered(t testing.TB, o ingest.Options, milters ...string) (*pgxpool.Pool, *ingest.Server) {
	t.Helper()
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com", "b@example.com")
	return pool, filtering(t, pool, o, milters...)
}

// filtering gives a server that asks the milters.
func filtering(t testing.TB, pool *pgxpool.Pool, o ingest.Options, milters ...string) *ingest.Server {
	t.Helper()
	o.Milters = addresses(t, milters...)
	return serve(t, pool, o)
}

func addresses(t testing.TB, milters ...string) []milter.Address {
	t.Helper()
	list, err := milter.Parse(milters)
	require.NoError(t, err)
	return list
}

// say makes the decision of a milter at the end of a mail, after changes.
func say(r *gomilter.Response, changes ...func(gomilter.Modifier) error) func(miltertest.Mail, gomilter.Modifier) *gomilter.Response {
	return func(_ miltertest.Mail, m gomilter.Modifier) *gomilter.Response {
		for _, change := range changes {
			if change(m) != nil {
				return gomilter.RespReject
			}
		}
		return r
	}
}

func add(name, value string) func(gomilter.Modifier) error {
	return func(m gomilter.Modifier) error { return m.AddHeader(name, value) }
}

func reply(t testing.TB, code uint16, text string) *gomilter.Response {
	t.Helper()
	r, err := gomilter.RejectWithCodeAndReason(code, text)
	require.NoError(t, err)
	return r
}

const filteredMail = "Authentication-Results: mx.test; spf=pass\r\nMessage-ID: <m@example.org>\r\nFrom: s@example.org\r\nSubject: hi\r\n\r\nhello\r\n"

func TestAMilterSeesTheMailAndItsChangesAreInTheEvent(t *testing.T) {
	t.Parallel()
	var seen miltertest.Mail
	first := miltertest.Serve(t, miltertest.Filter{End: func(m miltertest.Mail, change gomilter.Modifier) *gomilter.Response {
		seen = m
		return say(gomilter.RespAccept, add("X-Spam-Score", "7.25"), add("X-Spam-Flag", "YES"), func(m gomilter.Modifier) error {
			return m.InsertHeader(0, "Authentication-Results", "mx.test;\n\tspf=fail")
		}, func(m gomilter.Modifier) error { return m.ChangeHeader(1, "Subject", "[SPAM] hi") })(m, change)
	}})
	var order []string
	second := miltertest.Serve(t, miltertest.Filter{Protocol: gomilter.OptNoReplies, End: func(m miltertest.Mail, _ gomilter.Modifier) *gomilter.Response {
		for _, h := range m.Headers {
			order = append(order, h[0]+"|"+h[1])
		}
		return gomilter.RespAccept
	}})
	pool, s := filtered(t, ingest.Options{Domain: "mx.test"}, first+"?name=spam", second)
	w := hello(t, s)
	w.begin("a@example.com", "b@example.com")
	w.data(250, filteredMail)

	require.Equal(t, "sender@example.org", seen.From)
	require.Equal(t, []string{"a@example.com", "b@example.com"}, seen.To)
	require.Equal(t, "client.example", seen.Helo)
	require.Equal(t, "127.0.0.1", seen.Addr)
	require.Equal(t, "mx.test", seen.Macros["j"])
	require.NotEmpty(t, seen.Macros["i"])
	require.Equal(t, "b@example.com", seen.Macros["{rcpt_addr}"])
	require.Equal(t, "hello\r\n\r\n", string(seen.Body))
	require.Equal(t, [2]string{"Subject", "hi"}, seen.Headers[3])
	const changed = "Authentication-Results: mx.test;\r\n\tspf=fail\r\nAuthentication-Results-Original: mx.test; spf=pass\r\n" +
		"Message-ID: <m@example.org>\r\nFrom: s@example.org\r\nSubject: [SPAM] hi\r\nX-Spam-Score: 7.25\r\nX-Spam-Flag: YES\r\n\r\nhello\r\n\r\n"
	require.Equal(t, []string{
		"Authentication-Results|mx.test;\n\tspf=fail", "Authentication-Results-Original|mx.test; spf=pass", "Message-ID|<m@example.org>",
		"From|s@example.org", "Subject|[SPAM] hi", "X-Spam-Score|7.25", "X-Spam-Flag|YES",
	}, order, "the second milter sees what the first has changed")
	list := mails(t, pool)
	require.Len(t, list, 2)
	score, spam := 7.25, true
	for _, m := range list {
		require.Equal(t, changed, string(m.Raw))
		require.Equal(t, "[SPAM] hi", m.Data.Subject)
		require.Equal(t, []email.Milter{{
			Name: "spam", Action: email.MilterAccept, Spam: &spam, Score: &score,
			Headers: [][2]string{
				{"X-Spam-Score", "7.25"}, {"X-Spam-Flag", "YES"}, {"Authentication-Results", "mx.test; spf=fail"}, {"Subject", "[SPAM] hi"},
			},
		}, {Name: "milter2", Action: email.MilterAccept, Headers: [][2]string{}}}, m.Data.Milters)
		require.False(t, m.Data.Quarantined)
	}
}

func TestAMailWithoutMiltersIsNotTouched(t *testing.T) {
	t.Parallel()
	pool, s := filtered(t, ingest.Options{})
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(250, filteredMail)
	list := mails(t, pool)
	require.Equal(t, filteredMail+"\r\n", string(list[0].Raw))
	require.Equal(t, []email.Milter{}, list[0].Data.Milters)
}

func TestWhatAMilterDecidesIsObeyed(t *testing.T) {
	t.Parallel()
	inHeader := func(r *gomilter.Response) miltertest.Filter {
		return miltertest.Filter{Headers: func(miltertest.Mail) *gomilter.Response { return r }}
	}
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com")
	for name, c := range map[string]struct {
		filter miltertest.Filter
		code   int
		text   string
		stored int
	}{
		"accept":                {miltertest.Filter{}, 250, "", 1},
		"accept in the header":  {inHeader(gomilter.RespAccept), 250, "", 1},
		"reject":                {miltertest.Filter{End: say(gomilter.RespReject)}, 550, "5.7.1", 0},
		"reject in the header":  {inHeader(gomilter.RespReject), 550, "5.7.1", 0},
		"try again":             {miltertest.Filter{End: say(gomilter.RespTempFail)}, 451, "4.7.1", 0},
		"a reply of its own":    {miltertest.Filter{End: say(reply(t, 554, "5.7.9 it has\na virus"))}, 554, "5.7.9 it has", 0},
		"a reply that ends":     {miltertest.Filter{End: say(reply(t, 421, "4.7.0 slow down"))}, 451, "4.7.0 slow down", 0},
		"discard":               {miltertest.Filter{End: say(gomilter.RespDiscard)}, 250, "", 0},
		"discard in the header": {inHeader(gomilter.RespDiscard), 250, "", 0},
		"discard at RCPT":       {miltertest.Filter{RcptTo: func(string) *gomilter.Response { return gomilter.RespDiscard }}, 250, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := hello(t, filtering(t, pool, ingest.Options{}, miltertest.Serve(t, c.filter)))
			w.begin("a@example.com")
			require.Contains(t, w.data(c.code, "Subject: "+name+"\r\n\r\nhello\r\n"), c.text)
			require.Len(t, about(t, pool, name), c.stored)
			w.say(250, "NOOP")
		})
	}
}

// about gives the mails with the subject.
func about(t testing.TB, pool *pgxpool.Pool, subject string) (list []stored) {
	t.Helper()
	for _, m := range mails(t, pool) {
		if m.Data.Subject == subject {
			list = append(list, m)
		}
	}
	return list
}

func TestAMilterRefusesASenderOrOneRecipient(t *testing.T) {
	t.Parallel()
	f := miltertest.Filter{
		MailFrom: func(from string) *gomilter.Response {
			if from == "bad@example.org" {
				return gomilter.RespReject
			}
			return gomilter.RespContinue
		},
		RcptTo: func(to string) *gomilter.Response {
			if to == "a@example.com" {
				return reply(t, 450, "4.2.1 greylisted")
			}
			return gomilter.RespContinue
		},
	}
	pool, s := filtered(t, ingest.Options{}, miltertest.Serve(t, f))
	w := hello(t, s)
	w.say(550, "MAIL FROM:<bad@example.org>")
	w.say(250, "MAIL FROM:<sender@example.org>")
	require.Contains(t, w.say(450, "RCPT TO:<a@example.com>"), "greylisted")
	w.say(250, "RCPT TO:<b@example.com>")
	w.data(250, anyMail)
	list := mails(t, pool)
	require.Len(t, list, 1)
	require.Equal(t, "b@example.com", list[0].Agent)
}

func TestAQuarantinedMailArrivesMarked(t *testing.T) {
	t.Parallel()
	pool, s := filtered(t, ingest.Options{}, miltertest.Serve(t, miltertest.Filter{End: say(gomilter.RespAccept, func(m gomilter.Modifier) error {
		return m.Quarantine("infected by Eicar")
	})}))
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(250, anyMail)
	d := mails(t, pool)[0].Data
	require.True(t, d.Quarantined)
	require.Equal(t, email.MilterQuarantine, d.Milters[0].Action)
	require.Equal(t, "infected by Eicar", d.Milters[0].Reason)
}

func TestAMilterPutsAnotherBodyInPlace(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef\r\n", 3<<20/18)
	pool, s := filtered(t, ingest.Options{}, miltertest.Serve(t, miltertest.Filter{End: func(m miltertest.Mail, change gomilter.Modifier) *gomilter.Response {
		if change.ReplaceBody(strings.NewReader(strings.ToUpper(string(m.Body)))) != nil {
			return gomilter.RespReject
		}
		return gomilter.RespAccept
	}}), miltertest.Serve(t, miltertest.Filter{End: func(m miltertest.Mail, change gomilter.Modifier) *gomilter.Response {
		if change.AddHeader("X-Length", fmt.Sprint(len(m.Body), strings.Count(string(m.Body), "ABCDEF"))) != nil {
			return gomilter.RespReject
		}
		return gomilter.RespAccept
	}}))
	w := hello(t, s)
	for _, body := range []string{"small\r\n", large} {
		w.begin("a@example.com")
		w.bdat(250, []byte("From: x@example.org\r\n\r\n"+body))
	}
	list := mails(t, pool)
	require.Len(t, list, 2)
	require.Equal(t, "From: x@example.org\r\nX-Length: 7 0\r\n\r\nSMALL\r\n", string(list[0].Raw))
	require.Equal(t, fmt.Sprintf("From: x@example.org\r\nX-Length: %d %d\r\n\r\n", len(large), len(large)/18)+strings.ToUpper(large), string(list[1].Raw))
	require.True(t, list[0].Data.Milters[0].BodyReplaced)
	require.False(t, list[0].Data.Milters[1].BodyReplaced)
}

// broken are milters that do not keep to the protocol.
func broken() map[string]func(net.Conn) {
	next := miltertest.Packet('c', "")
	atEnd := func(answers ...[]byte) func(net.Conn) {
		return func(c net.Conn) {
			if !miltertest.Agree(c) || !miltertest.Until(c, 'E', next) {
				return
			}
			for _, a := range answers {
				if _, err := c.Write(a); err != nil {
					return
				}
			}
			_, _ = io.Copy(io.Discard, c)
		}
	}
	huge := binary.BigEndian.AppendUint32(nil, 400<<20)
	accept := miltertest.Packet('a', "")
	field := func(name, value string) []byte { return miltertest.Packet('h', name+"\x00"+value+"\x00") }
	return map[string]func(net.Conn){
		"closes at once": func(net.Conn) {},
		"says nothing":   func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"speaks something else": func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mx.example.com ESMTP\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
		"sends an empty packet":    func(c net.Conn) { _, _ = c.Write(make([]byte, 4)); _, _ = io.Copy(io.Discard, c) },
		"sends a huge packet":      func(c net.Conn) { _, _ = c.Write(huge); _, _ = io.Copy(io.Discard, c) },
		"agrees, then closes":      func(c net.Conn) { miltertest.Agree(c) },
		"closes at the end":        func(c net.Conn) { _ = miltertest.Agree(c) && miltertest.Until(c, 'E', next) },
		"closes within the body":   func(c net.Conn) { _ = miltertest.Agree(c) && miltertest.Until(c, 'B', next) },
		"is silent at the end":     atEnd(),
		"huge at the end":          atEnd(huge),
		"empty at the end":         atEnd(make([]byte, 4)),
		"garbage at the end":       atEnd(miltertest.Packet('Z', "x")),
		"a cut packet":             atEnd(accept[:3]),
		"an injected header":       atEnd(field("X-A", "b\r\nBcc: evil@example.org"), accept),
		"an injected end":          atEnd(field("X-A", "b\n\nbody"), accept),
		"an injected name":         atEnd(field("X-A: b\r\nBcc", "evil"), accept),
		"a field without an end":   atEnd(miltertest.Packet('h', "X-A"), accept),
		"another recipient":        atEnd(miltertest.Packet('+', "<evil@example.org>\x00"), accept),
		"no recipient":             atEnd(miltertest.Packet('-', "<a@example.com>\x00"), accept),
		"another sender":           atEnd(miltertest.Packet('e', "<evil@example.org>\x00"), accept),
		"a reply of no code":       atEnd(miltertest.Packet('y', "250 fine\x00")),
		"a new body in the middle": func(c net.Conn) { _ = miltertest.Agree(c) && miltertest.Until(c, 'L', miltertest.Packet('b', "x")) },
		"progress without an end": func(c net.Conn) {
			if miltertest.Agree(c) && miltertest.Until(c, 'E', next) {
				for {
					if _, err := c.Write(miltertest.Packet('p', "")); err != nil {
						return
					}
				}
			}
		},
		"fields without an end": func(c net.Conn) {
			if miltertest.Agree(c) && miltertest.Until(c, 'E', next) {
				for {
					if _, err := c.Write(field("X-A", strings.Repeat("b", 60_000))); err != nil {
						return
					}
				}
			}
		},
		"a body without an end": func(c net.Conn) {
			if miltertest.Agree(c) && miltertest.Until(c, 'E', next) {
				for {
					if _, err := c.Write(miltertest.Packet('b', strings.Repeat("b", 60_000))); err != nil {
						return
					}
				}
			}
		},
	}
}

func TestABrokenMilterPutsTheMailOff(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com")
	for name, f := range broken() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := ingest.Options{MilterTimeout: 200 * time.Millisecond, MaxMessageBytes: 1 << 20}
			w := hello(t, filtering(t, pool, o, miltertest.Broken(t, f)))
			code, why := attempt(w, name)
			require.Equal(t, 451, code, why)
			require.Contains(t, why, "try again later")
			require.Empty(t, mails(t, pool))
			w.say(250, "NOOP")
		})
	}
}

// attempt sends a mail with the subject, and returns the first refusal or the last reply.
func attempt(w *wire, subject string) (code int, text string) {
	w.t.Helper()
	for _, line := range []string{"MAIL FROM:<sender@example.org>", "RCPT TO:<a@example.com>", "DATA", "Subject: " + subject + "\r\n\r\nhello\r\n."} {
		w.send(line + "\r\n")
		code, text, _ = w.r.ReadResponse(0)
		if code >= 400 {
			return code, text
		}
	}
	return code, text
}

func TestAMailPassesABrokenMilterIfTheOperatorSaysSo(t *testing.T) {
	t.Parallel()
	tried := miltertest.Serve(t, miltertest.Filter{End: say(gomilter.RespAccept, add("X-Tried", "yes"))})
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com")
	for name, f := range broken() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := ingest.Options{MilterTimeout: 200 * time.Millisecond, MaxMessageBytes: 1 << 20}
			w := hello(t, filtering(t, pool, o, miltertest.Broken(t, f)+"?on_failure=accept&name=broken", tried+"?on_failure=accept"))
			code, why := attempt(w, name)
			require.Equal(t, 250, code, why)
			list := about(t, pool, name)
			require.Len(t, list, 1)
			require.Equal(t, email.Milter{Name: "broken", Action: email.MilterUnavailable, Headers: [][2]string{}}, list[0].Data.Milters[0])
			require.Contains(t, []string{"Subject: " + name + "\r\nX-Tried: yes\r\n\r\nhello\r\n", "Subject: " + name + "\r\n\r\nhello\r\n"}, string(list[0].Raw), "nothing of the broken one is in it")
		})
	}
}

func TestAMilterThatIsAwayPutsTheMailOffUntilItIsBack(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	away := l.Addr().String()
	require.NoError(t, l.Close())
	var reports atomic.Int32
	pool, s := filtered(t, ingest.Options{ReportMilter: func(a milter.Address, err error) {
		require.Equal(t, away, a.Host)
		require.Error(t, err)
		reports.Add(1)
	}}, "inet:"+away)
	w := hello(t, s)
	require.Contains(t, w.say(451, "MAIL FROM:<sender@example.org>"), "cannot be checked")
	require.Empty(t, mails(t, pool))
	require.Equal(t, int32(1), reports.Load())
}

func TestAnEdgeAsksTheMiltersAndTheEventHasWhatTheySaid(t *testing.T) {
	t.Parallel()
	pool, js := pgtest.Pool(t), broker(t)
	tenant(t, pool, "a@example.com")
	var n atomic.Int32
	f := miltertest.Filter{End: func(_ miltertest.Mail, m gomilter.Modifier) *gomilter.Response {
		return say(gomilter.RespAccept, add("X-Spam-Status", "No, score=1.5 required=5"), add("X-Queue", fmt.Sprint(n.Add(1))), func(m gomilter.Modifier) error {
			return m.Quarantine("a \"reason\"")
		})(miltertest.Mail{}, m)
	}}
	edge, err := ingest.NewPublishingServer(rawmail.NewPublisher(js, "edge-1"), nil, ingest.Options{
		Addr: "127.0.0.1:0", Log: zaptest.NewLogger(t), Milters: addresses(t, miltertest.Serve(t, f)+"?name=rspamd"),
	})
	require.NoError(t, err)
	require.NoError(t, edge.Listen())
	running(t, edge.Run)
	w := hello(t, edge)
	for range 2 { // without a Message-ID it is the same mail by its bytes as they were sent
		w.begin("a@example.com")
		w.data(250, "Date: Mon, 2 Jan 2006 15:04:05 +0000\r\nFrom: s@example.org\r\n\r\nhello\r\n")
	}
	takingRaw(t, pool, js, ingest.Options{Milters: addresses(t, "inet:127.0.0.1:1")})
	emptied(t, js)
	list := mails(t, pool)
	require.Len(t, list, 1)
	score, spam := 1.5, false
	require.Equal(t, []email.Milter{{
		Name: "rspamd", Action: email.MilterQuarantine, Reason: `a "reason"`, Spam: &spam, Score: &score,
		Headers: [][2]string{{"X-Spam-Status", "No, score=1.5 required=5"}, {"X-Queue", list[0].Data.Milters[0].Headers[1][1]}},
	}}, list[0].Data.Milters)
	require.True(t, list[0].Data.Quarantined)
}

func TestAMilterIsCounted(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	_, s := filtered(t, ingest.Options{Registerer: r}, miltertest.Serve(t, miltertest.Filter{End: say(gomilter.RespReject)})+"?name=spam")
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(550, anyMail)
	require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader(`
# HELP fanmail_ingest_milter_decisions_total Decisions of milters about mails and recipients, by milter and decision; failed: it gave none.
# TYPE fanmail_ingest_milter_decisions_total counter
fanmail_ingest_milter_decisions_total{decision="accept",milter="spam"} 0
fanmail_ingest_milter_decisions_total{decision="discard",milter="spam"} 0
fanmail_ingest_milter_decisions_total{decision="failed",milter="spam"} 0
fanmail_ingest_milter_decisions_total{decision="quarantine",milter="spam"} 0
fanmail_ingest_milter_decisions_total{decision="reject",milter="spam"} 1
fanmail_ingest_milter_decisions_total{decision="tempfail",milter="spam"} 0
`), "fanmail_ingest_milter_decisions_total"))
}

func TestAMailWhoseHeaderMiltersCanNotSeeIsRefused(t *testing.T) {
	t.Parallel()
	pool, s := filtered(t, ingest.Options{}, miltertest.Serve(t, miltertest.Filter{}))
	w := hello(t, s)
	w.begin("a@example.com")
	require.Contains(t, w.data(552, strings.Repeat("X: "+strings.Repeat("y", 990)+"\r\n", 300)+"\r\nhello"), "header is too long")
	require.Empty(t, mails(t, pool))
}
