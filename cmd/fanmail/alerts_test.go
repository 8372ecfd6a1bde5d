package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

// mailRelay is an SMTP relay with TLS and one user.
type mailRelay struct {
	addr  string
	files tlstest.Files

	mu    sync.Mutex
	mails []string
	taken func(n int) // is called with the number of mails before the answer to one; nil: nothing
}

const mailRelayPassword = "hunter2-of-the-relay"

func serveMailRelay(t *testing.T) *mailRelay {
	t.Helper()
	r := &mailRelay{files: tlstest.In(t.TempDir(), "relay")}
	tlstest.New(t).Write(r.files, 1)
	certificate, err := tls.LoadX509KeyPair(r.files.Cert, r.files.Key)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.addr = l.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailRelaySession{relay: r}, nil }))
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.ErrorLog = discardLog{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return r
}

// discardLog is a log for errors of clients that are killed.
type discardLog struct{}

func (discardLog) Printf(string, ...any) {}
func (discardLog) Println(...any)        {}

func (r *mailRelay) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.mails...)
}

type mailRelaySession struct {
	relay  *mailRelay
	signed bool
}

func (s *mailRelaySession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailRelaySession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "fanmail" || password != mailRelayPassword {
			return smtp.ErrAuthFailed
		}
		s.signed = true
		return nil
	}), nil
}

func (s *mailRelaySession) Mail(string, *smtp.MailOptions) error {
	if !s.signed {
		return smtp.ErrAuthRequired
	}
	return nil
}
func (s *mailRelaySession) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (s *mailRelaySession) Data(in io.Reader) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.mails = append(s.relay.mails, string(text))
	if s.relay.taken != nil {
		s.relay.taken(len(s.relay.mails))
	}
	return nil
}
func (s *mailRelaySession) Reset()        {}
func (s *mailRelaySession) Logout() error { return nil }

// TestADispatcherKilledBetweenAMailAndItsRecord loses no mail: another one sends it again, with the same Message-ID. The
// relay kills the first when it has the mail, before it answers.
func TestADispatcherKilledBetweenAMailAndItsRecord(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, broker, relay := pgtest.URL(t), natstest.URL(t), serveMailRelay(t)
	pool := pgtest.Open(t, db)
	tenant, err := tenancy.Create(ctx, pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	_, err = tenancy.SetAlertAddresses(ctx, pool, tenant.ID, []string{"ops@example.com"})
	require.NoError(t, err)
	hook, _, err := subscribers.NewStore(pool, subscribers.Limits{}).Create(ctx, tenant.ID, subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true})
	require.NoError(t, err)
	_, err = subscribers.WriteOutcomes(ctx, pool, &subscribers.OutcomeBatch{Disable: []events.WebhookID{hook.ID}})
	require.NoError(t, err)

	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(mailRelayPassword), 0o600))
	settings := append(os.Environ(), "FANMAIL_DATABASE_URL="+db, "FANMAIL_NATS_URL="+broker, "FANMAIL_HTTP_ADDR=off", "FANMAIL_ALERT_RELAY=smtp://fanmail@"+relay.addr,
		"FANMAIL_ALERT_RELAY_PASSWORD_FILE="+password, "FANMAIL_ALERT_FROM=alerts@example.com", "SSL_CERT_FILE="+relay.files.CA)
	file := program(t, "dispatcher")
	dispatcher := func() (*exec.Cmd, *screen) {
		out := &screen{}
		cmd := exec.CommandContext(context.Background(), file)
		cmd.Env, cmd.Stdout, cmd.Stderr = settings, out, out
		require.NoError(t, cmd.Start())
		return cmd, out
	}
	ready := make(chan struct{})
	var first *exec.Cmd
	relay.taken = func(n int) {
		if n == 1 {
			<-ready
			_ = first.Process.Kill()
			_ = first.Wait()
		}
	}
	first, said := dispatcher()
	close(ready)
	require.Eventually(t, func() bool { return len(relay.took()) == 1 }, patience, 10*time.Millisecond, "%s", said)
	second, said := dispatcher()
	t.Cleanup(func() {
		require.NoError(t, second.Process.Signal(os.Interrupt))
		require.NoError(t, second.Wait())
		require.NotContains(t, said.String(), mailRelayPassword)
	})
	// The lease of the first ends.
	_, err = pool.Exec(ctx, `UPDATE fanmail.alert_mails SET due_at = now()`)
	require.NoError(t, err)
	said.shows(t, "mail sent")
	mails := relay.took()
	require.Len(t, mails, 2)
	id := regexp.MustCompile(`(?mi)^message-id: (.*)$`)
	require.Equal(t, id.FindStringSubmatch(mails[0])[1], id.FindStringSubmatch(mails[1])[1])
	require.EventuallyWithT(t, func(c *assert.CollectT) { // the record follows the mail
		var due int
		require.NoError(c, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.alert_mails WHERE due_at IS NOT NULL`).Scan(&due))
		require.Zero(c, due)
	}, patience, 10*time.Millisecond)
}

// TestTheDoctorTriesTheAlertRelay and says what to do about it, without the password.
func TestTheDoctorTriesTheAlertRelay(t *testing.T) {
	t.Parallel()
	relay := serveMailRelay(t)
	with := "fanmail:" + mailRelayPassword + "@" + relay.addr
	for url, says := range map[string]string{
		"smtp://" + with:                      `fail +alert relay: encrypt the connection .*(?s:.*)→ let the relay offer STARTTLS or TLS`, // nobody trusts its authority
		"smtps://" + with:                     `fail +alert relay: encrypt the connection .*(?s:.*)→ let the relay offer STARTTLS or TLS`,
		"smtp://127.0.0.1:1?tls=off":          `fail +alert relay: reach the relay .*(?s:.*)→ bring the relay up`,
		"smtp://" + relay.addr + "?tls=off":   `ok +alert relay: .* takes mails`,
		"smtp://" + with + "?tls=off":         `fail +alert relay: --alert-relay \(FANMAIL_ALERT_RELAY\) .* never sent in clear`,
		"smtp://fanmail@" + relay.addr:        `fail +alert relay: .* must have a user and a password`,
		"http://" + with:                      `fail +alert relay: .* does not begin with smtp://`,
		"smtp://" + relay.addr + "/x":         `fail +alert relay: .* must be a host and a port`,
		"smtp://" + relay.addr + "?tls=maybe": `fail +alert relay: .* a parameter other than tls=off`,
	} {
		out, code := fanmail(t, t.TempDir(), "", "doctor", "--alert-relay", url, "--alert-from", "alerts@example.com")
		require.Equal(t, 1, code, "there is no database")
		require.Regexp(t, says, out)
		require.NotContains(t, out, mailRelayPassword)
	}
	out, code := fanmail(t, t.TempDir(), "", "doctor", "--alert-relay", "smtp://"+relay.addr+"?tls=off")
	require.Equal(t, 1, code)
	require.Contains(t, out, "--alert-from (FANMAIL_ALERT_FROM)")
}

// TestATenantsAlertAddressesAreSetFromTheCommandLine by operators.
func TestATenantsAlertAddressesAreSetFromTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := up(t)
	id := object(t, must(t, dir, "", "tenants", "create", "other", "--json"))["id"].(string)
	must(t, dir, "", "tenants", "alerts", id, "--to", "ops@example.com", "--to", "oncall@example.com")
	require.Equal(t, []any{"ops@example.com", "oncall@example.com"}, object(t, must(t, dir, "", "tenants", "alerts", id, "--json"))["alert_addresses"])
	out, code := fanmail(t, dir, "", "tenants", "alerts", id, "--to", "nobody")
	require.Equal(t, 1, code)
	require.Contains(t, out, "not a plain mail address")
	out, code = fanmail(t, dir, "", "tenants", "alerts", id, "--to", "ops@example.com", "--clear", "alert_addresses")
	require.Equal(t, 1, code)
	require.Contains(t, out, "both set and cleared")
	require.Empty(t, object(t, must(t, dir, "", "tenants", "alerts", id, "--clear", "alert_addresses", "--json"))["alert_addresses"])
}
