package alertmail_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"

	gomail "github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/alertmail"
	"github.com/fanmail-dev/fanmail/internal/opevents"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// office is a database with a tenant that has alert addresses, and a relay.
type office struct {
	t      *testing.T
	pool   *pgxpool.Pool
	store  *subscribers.Store
	facts  *opevents.Worker
	tenant events.TenantID
	relay  *relay

	reports []error
	metrics *prometheus.Registry
	logs    *observer.ObservedLogs
	mailer  *alertmail.Mailer
}

func open(t *testing.T) *office {
	t.Helper()
	pool := pgtest.Pool(t)
	o := &office{t: t, pool: pool, store: subscribers.NewStore(pool, subscribers.Limits{}), facts: opevents.New(pool, opevents.Options{}), relay: serve(t, security{starttls: true}), metrics: prometheus.NewRegistry()}
	made, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	o.tenant = made.ID
	o.addresses("ops@customer.example", "oncall@customer.example")
	core, logs := observer.New(zap.DebugLevel)
	o.logs = logs
	o.mailer = alertmail.New(pool, alertmail.Options{
		Relay: o.relay.at(alertmail.StartTLS), From: &mail.Address{Name: "Fanmail", Address: "alerts@fanmail.example"}, PublicURL: "https://fanmail.example/",
		Report: func(err error) { o.reports = append(o.reports, err) }, Registerer: o.metrics, Log: zap.New(core),
	})
	return o
}

func (o *office) addresses(list ...string) {
	o.t.Helper()
	_, err := tenancy.SetAlertAddresses(o.t.Context(), o.pool, o.tenant, append([]string{}, list...))
	require.NoError(o.t, err)
}

func (o *office) exec(sql string, args ...any) {
	o.t.Helper()
	_, err := o.pool.Exec(context.Background(), sql, args...)
	require.NoError(o.t, err)
}

func (o *office) webhook(url, description string) events.WebhookID {
	o.t.Helper()
	w, _, err := o.store.Create(context.Background(), o.tenant, subscribers.Webhook{URL: url, Description: description, Events: []events.Type{events.EmailReceived}, Enabled: true})
	require.NoError(o.t, err)
	return w.ID
}

// gather moves facts into the mails.
func (o *office) gather() {
	o.t.Helper()
	for {
		n, err := o.facts.Round(context.Background())
		require.NoError(o.t, err)
		if n == 0 {
			return
		}
	}
}

// fails makes a webhook fail for over an hour.
func (o *office) fails(id events.WebhookID) {
	o.t.Helper()
	o.exec(`UPDATE fanmail.webhooks SET enabled_at = now() - interval '1 day', last_delivered_at = now() - interval '2 hours' WHERE id = $1`, id)
	o.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, attempts, max_attempts, event_type, last_error, last_status_code, last_attempt_at)
		VALUES (gen_random_uuid(), now() - interval '61 minutes', $1, $2, gen_random_uuid(), now(), now() + interval '20 minutes', now() + interval '30 days', 1, 4, 8, 'email.received',
			'answered 500', 500, now() - interval '40 minutes')`, id, o.tenant)
	require.NoError(o.t, pgx.BeginFunc(context.Background(), o.pool, func(tx pgx.Tx) error {
		_, err := subscribers.MarkFailing(context.Background(), tx)
		return err
	}))
	o.gather()
}

func (o *office) recovers(id events.WebhookID) {
	o.t.Helper()
	_, err := subscribers.WriteOutcomes(context.Background(), o.pool, &subscribers.OutcomeBatch{Touch: []events.WebhookID{id}})
	require.NoError(o.t, err)
	o.gather()
}

// dayPasses lets a day pass for all mails.
func (o *office) dayPasses() {
	o.t.Helper()
	o.exec(`UPDATE fanmail.alert_mails SET due_at = due_at - interval '1 day', sent_at = sent_at - interval '1 day'`)
}

func (o *office) round() {
	o.t.Helper()
	require.NoError(o.t, o.mailer.Round(context.Background()))
}

func (o *office) tries(result string) float64 {
	o.t.Helper()
	families, err := o.metrics.Gather()
	require.NoError(o.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	o.t.Fatalf("no result %q", result)
	return 0
}

// read takes a mail apart.
func read(t *testing.T, l letter) (h gomail.Header, text, html string) {
	t.Helper()
	r, err := gomail.CreateReader(bytes.NewReader(l.data))
	require.NoError(t, err)
	for {
		part, err := r.NextPart()
		if err == io.EOF { //nolint:errorlint // as the package documents it
			return r.Header, text, html
		}
		require.NoError(t, err)
		body, err := io.ReadAll(part.Body)
		require.NoError(t, err)
		kind, _, err := part.Header.(*gomail.InlineHeader).ContentType()
		require.NoError(t, err)
		switch kind {
		case "text/plain":
			text = string(body)
		case "text/html":
			html = string(body)
		default:
			t.Fatal(kind)
		}
	}
}

func TestAWebhookThatFailsIsTurnedIntoAMail(t *testing.T) {
	t.Parallel()
	o := open(t)
	hook := o.webhook("https://hooks.example.com/secret/path?token=hunter2-query", "orders")
	o.round()
	require.Empty(t, o.reports, "nothing is due, so nobody is asked")
	o.fails(hook)
	o.round()
	got := o.relay.letters()
	require.Len(t, got, 1)
	require.Equal(t, "alerts@fanmail.example", got[0].from)
	require.Equal(t, []string{"ops@customer.example", "oncall@customer.example"}, got[0].to)
	h, text, html := read(t, got[0])
	subject, err := h.Subject()
	require.NoError(t, err)
	require.Equal(t, "A webhook is failing: orders", subject)
	require.Equal(t, "auto-generated", h.Get("Auto-Submitted"))
	require.Contains(t, h.Get("List-Unsubscribe"), "alerts@fanmail.example")
	id, err := h.MessageID()
	require.NoError(t, err)
	require.Contains(t, id, "@fanmail.example")
	for _, body := range []string{text, html} {
		require.Contains(t, body, hook.String())
		require.Contains(t, body, "https://hooks.example.com")
		require.Contains(t, body, "answered 500")
		require.Contains(t, body, "https://fanmail.example/console/webhooks/"+hook.String())
	}
	require.NotContains(t, string(got[0].data), "secret", "a path may hold a token, and a query")
	require.NotContains(t, string(got[0].data), "hunter2")
	require.Equal(t, 1.0, o.tries("sent"))
	require.Equal(t, []error{nil}, o.reports)
}

// TestAtMostOneMailADayOfEachWebhook, which tells what happened meanwhile.
func TestAtMostOneMailADayOfEachWebhook(t *testing.T) {
	t.Parallel()
	o := open(t)
	one, two := o.webhook("https://one.example.com/", ""), o.webhook("https://two.example.com/", "")
	o.fails(one)
	o.round()
	require.Len(t, o.relay.letters(), 1)
	o.recovers(one)
	o.fails(two)
	o.round()
	require.Len(t, o.relay.letters(), 2, "another webhook has a mail of its own")
	o.round()
	require.Len(t, o.relay.letters(), 2)
	o.exec(`UPDATE fanmail.alert_mails SET due_at = due_at - interval '23 hours 59 minutes'`)
	o.round()
	require.Len(t, o.relay.letters(), 2)
	o.exec(`UPDATE fanmail.alert_mails SET due_at = due_at + interval '23 hours 59 minutes'`)
	o.fails(one)
	o.dayPasses()
	o.round()
	got := o.relay.letters()
	require.Len(t, got, 3)
	h, text, _ := read(t, got[2])
	subject, err := h.Subject()
	require.NoError(t, err)
	require.Equal(t, "A webhook is failing: https://one.example.com", subject)
	require.Contains(t, text, "a delivery has succeeded again")
	require.Equal(t, 1, strings.Count(text, "no delivery has succeeded"))
	o.dayPasses()
	o.round()
	require.Len(t, o.relay.letters(), 3, "nothing has happened since")
	// A webhook that goes up and down has a mail of bounded size.
	for range 12 {
		o.recovers(one)
		o.fails(one)
	}
	o.dayPasses()
	o.round()
	got = o.relay.letters()
	require.Len(t, got, 4)
	_, text, _ = read(t, got[3])
	require.Equal(t, 10, strings.Count(text, "\n- "))
}

// TestADisabledWebhookIsMailed with the reason; other tenants get nothing.
func TestADisabledWebhookIsMailed(t *testing.T) {
	t.Parallel()
	o := open(t)
	other, err := tenancy.Create(t.Context(), o.pool, tenancy.NewTenant{Name: "other", Operator: true})
	require.NoError(t, err)
	_, err = tenancy.SetAlertAddresses(t.Context(), o.pool, other.ID, []string{"other@customer.example"})
	require.NoError(t, err)
	hook := o.webhook("https://hooks.example.com/", "")
	_, err = subscribers.WriteOutcomes(t.Context(), o.pool, &subscribers.OutcomeBatch{Disable: []events.WebhookID{hook}})
	require.NoError(t, err)
	o.gather()
	o.round()
	got := o.relay.letters()
	require.Len(t, got, 1)
	require.Equal(t, []string{"ops@customer.example", "oncall@customer.example"}, got[0].to)
	_, text, _ := read(t, got[0])
	require.Contains(t, text, "410")

	// Without addresses there is no mail, also if they are taken away while one waits.
	late := o.webhook("https://late.example.com/", "")
	o.fails(late)
	o.addresses()
	o.round()
	o.fails(o.webhook("https://none.example.com/", ""))
	o.round()
	require.Len(t, o.relay.letters(), 1)
	require.Equal(t, 1.0, o.tries("nobody"))
	var left int
	require.NoError(t, o.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.alert_mails WHERE due_at IS NOT NULL`).Scan(&left))
	require.Zero(t, left)
}

// TestStrangersTextsStayText: they add no header, no recipient and no markup.
func TestStrangersTextsStayText(t *testing.T) {
	t.Parallel()
	o := open(t)
	hook := o.webhook("https://hooks.example.com/?q=hunter2", "")
	const hostile = "<script>alert(1)</script>\r\nBcc: victim@example.com\r\n\r\n<img src=x>\x00\u202e{{.ID}} =?utf-8?q?x?="
	o.exec(`UPDATE fanmail.webhooks SET description = replace($2, chr(1), ''), url = $3 WHERE id = $1`, hook, strings.ReplaceAll(hostile, "\x00", ""), "https://user:hunter2@evil.example\"><b>/?q=hunter2")
	o.fails(hook)
	o.round()
	got := o.relay.letters()
	require.Len(t, got, 1)
	require.Equal(t, []string{"ops@customer.example", "oncall@customer.example"}, got[0].to)
	head, _, _ := strings.Cut(string(got[0].data), "\r\n\r\n")
	require.NotRegexp(t, `(?mi)^bcc:`, head)
	h, text, html := read(t, got[0])
	subject, err := h.Subject()
	require.NoError(t, err)
	require.Contains(t, subject, "<script>", "as text")
	require.NotContains(t, subject, "\u202e")
	require.NotContains(t, html, "<script>")
	require.NotContains(t, html, "<img")
	require.NotContains(t, html, "<b>")
	require.Contains(t, html, "&lt;script&gt;")
	require.Contains(t, text, "{{.ID}}")
	require.NotContains(t, string(got[0].data), "hunter2")
}

// TestARelayThatIsDownForAWhileLosesNoMail, and says why.
func TestARelayThatIsDownForAWhileLosesNoMail(t *testing.T) {
	t.Parallel()
	o := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	at := o.relay.at(alertmail.StartTLS)
	up := at.Addr
	at.Addr = addr
	metrics := prometheus.NewRegistry()
	mailer := alertmail.New(o.pool, alertmail.Options{Relay: at, From: &mail.Address{Address: "alerts@fanmail.example"}, Registerer: metrics})
	o.fails(o.webhook("https://hooks.example.com/", ""))
	for range 3 {
		err := mailer.Round(t.Context())
		var failure *alertmail.Error
		require.ErrorAs(t, err, &failure)
		require.Equal(t, alertmail.Unreachable, failure.Reason)
	}
	n, err := testutil.GatherAndCount(metrics, "fanmail_alertmail_tries_total")
	require.NoError(t, err)
	require.Equal(t, 9, n, "a closed set of results")
	require.Empty(t, o.relay.letters())
	at.Addr = up
	o.round()
	require.Len(t, o.relay.letters(), 1, "at once: nothing was put off")

	// Three days later it is old news.
	o.fails(o.webhook("https://late.example.com/", ""))
	o.exec(`UPDATE fanmail.alert_mails SET facts = jsonb_set(facts, '{0,at}', to_jsonb(now() - interval '73 hours')) WHERE due_at IS NOT NULL`)
	o.round()
	require.Len(t, o.relay.letters(), 1)
	require.Equal(t, 1.0, o.tries("expired"))
}

// TestARefusedMailHoldsUpNoOther whatever the relay refuses.
func TestARefusedMailHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	o := open(t)
	later := &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "greylisted"}
	never := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "nobody here"}
	o.relay.refuses("ops@customer.example", never)
	o.fails(o.webhook("https://one.example.com/", ""))
	o.round()
	require.Equal(t, []string{"oncall@customer.example"}, o.relay.letters()[0].to, "the others get it")

	o.relay.refuses("oncall@customer.example", later)
	o.fails(o.webhook("https://two.example.com/", ""))
	o.round()
	require.Len(t, o.relay.letters(), 1)
	require.Equal(t, 1.0, o.tries("recipients"))
	o.relay.refuses("oncall@customer.example", never)
	o.fails(o.webhook("https://three.example.com/", ""))
	o.round()
	require.Len(t, o.relay.letters(), 1, "nobody takes it")
	require.Equal(t, 2.0, o.tries("recipients"))
	o.relay.refuses("oncall@customer.example", nil)
	o.exec(`UPDATE fanmail.alert_mails SET due_at = now() WHERE attempts > 0`)
	o.round()
	require.Len(t, o.relay.letters(), 2, "the second is tried again, the third is not")
	require.Equal(t, []error{nil, nil, nil, nil}, o.reports, "the relay itself is well")

	o.relay.refuses("MAIL", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "not your address"})
	o.fails(o.webhook("https://four.example.com/", ""))
	var failure *alertmail.Error
	require.ErrorAs(t, o.mailer.Round(t.Context()), &failure)
	require.Equal(t, alertmail.Sender, failure.Reason)
	require.ErrorContains(t, o.reports[len(o.reports)-1], "not your address")
	o.relay.refuses("MAIL", nil)
	o.exec(`UPDATE fanmail.alert_mails SET due_at = now() WHERE attempts > 0`)
	o.round()
	require.Len(t, o.relay.letters(), 3)
	for _, entry := range o.logs.All() {
		require.NotContains(t, fmt.Sprint(entry.Message, entry.ContextMap()), relayPassword)
	}
}

// TestReplicasSendEachMailOnce together.
func TestReplicasSendEachMailOnce(t *testing.T) {
	t.Parallel()
	o := open(t)
	const hooks = 30
	for i := range hooks {
		o.fails(o.webhook(fmt.Sprintf("https://%d.example.com/", i), ""))
	}
	var replicas sync.WaitGroup
	for range 3 {
		mailer := alertmail.New(o.pool, alertmail.Options{Relay: o.relay.at(alertmail.StartTLS), From: &mail.Address{Address: "alerts@fanmail.example"}})
		for range 2 {
			replicas.Go(func() {
				for range 4 {
					if err := mailer.Round(context.Background()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	replicas.Wait()
	seen := map[string]int{}
	for _, l := range o.relay.letters() {
		h, _, _ := read(t, l)
		subject, err := h.Subject()
		require.NoError(t, err)
		seen[subject]++
	}
	require.Len(t, seen, hooks)
	require.Len(t, o.relay.letters(), hooks)
}

// TestASenderThatDiesBeforeTheRecordSendsItAgain, with the same Message-ID; and what it
// records then means nothing.
func TestASenderThatDiesBeforeTheRecordSendsItAgain(t *testing.T) {
	t.Parallel()
	o := open(t)
	hook := o.webhook("https://hooks.example.com/", "")
	o.fails(hook)
	dead, err := opevents.ClaimMail(t.Context(), o.pool)
	require.NoError(t, err)
	o.round()
	require.Empty(t, o.relay.letters(), "it is the other's")
	o.recovers(hook) // while it is claimed
	o.exec(`UPDATE fanmail.alert_mails SET due_at = now() - interval '1 second'`)
	o.round()
	require.Len(t, o.relay.letters(), 1)
	require.NoError(t, dead.Sent(t.Context(), o.pool))
	require.NoError(t, dead.Later(t.Context(), o.pool, 0))
	o.round()
	require.Len(t, o.relay.letters(), 1)

	// What comes between claim and record waits a day.
	o.dayPasses()
	o.fails(hook)
	mine, err := opevents.ClaimMail(t.Context(), o.pool)
	require.NoError(t, err)
	require.Len(t, mine.Facts, 1)
	o.recovers(hook)
	require.NoError(t, mine.Sent(t.Context(), o.pool))
	o.round()
	require.Len(t, o.relay.letters(), 1)
	o.dayPasses()
	o.round()
	got := o.relay.letters()
	require.Len(t, got, 2)
	_, text, _ := read(t, got[1])
	require.Contains(t, text, "succeeded again")
	require.NotContains(t, text, "no delivery has succeeded")
}
