package alertmail_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/alertmail"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

const (
	relayUser     = "fanmail"
	relayPassword = "hunter2-relay"
)

// letter is a mail that the relay took.
type letter struct {
	from string
	to   []string
	data []byte
}

// relay is an SMTP server with a certificate and users.
type relay struct {
	t    *testing.T
	addr string
	tls  *tls.Config // of clients that trust it

	mu      sync.Mutex
	took    []letter
	signed  int                        // sign-ins that succeeded
	refuse  map[string]*smtp.SMTPError // by recipient, "MAIL" or "DATA"
	onData  func()                     // called before a mail is taken; nil: nothing
	mechs   []string
	noClear bool // MAIL needs a sign-in
}

// security of a relay for tests.
type security struct {
	implicit, starttls bool
}

func serve(t *testing.T, s security) *relay {
	t.Helper()
	files := tlstest.In(t.TempDir(), "relay")
	tlstest.New(t).Write(files, 1)
	certificate, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(t, err)
	authority, err := os.ReadFile(files.CA)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(authority))
	r := &relay{t: t, tls: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, refuse: map[string]*smtp.SMTPError{}, mechs: []string{sasl.Plain}, noClear: s.implicit || s.starttls}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.addr = l.Addr().String()
	r.listen(l, s, certificate)
	return r
}

// listen serves on l until the test ends, or until stop is called.
func (r *relay) listen(l net.Listener, s security, certificate tls.Certificate) (stop func()) {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{r: r}, nil }))
	server.Domain = "relay.example.com"
	if s.starttls {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	if s.implicit {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	stop = sync.OnceFunc(func() {
		_ = server.Close()
		<-done
	})
	r.t.Cleanup(stop)
	return stop
}

func (r *relay) letters() []letter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]letter(nil), r.took...)
}

func (r *relay) refuses(what string, err *smtp.SMTPError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse[what] = err
}

func (r *relay) refusal(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refuse[what]; err != nil {
		return err
	}
	return nil
}

// session is one client of the relay.
type session struct {
	r      *relay
	signed bool
	letter
}

func (s *session) AuthMechanisms() []string { return s.r.mechs }

func (s *session) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != relayUser || password != relayPassword {
			return smtp.ErrAuthFailed
		}
		s.signed = true
		s.r.mu.Lock()
		s.r.signed++
		s.r.mu.Unlock()
		return nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.r.noClear && !s.signed {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return s.r.refusal("MAIL")
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.r.refusal(to); err != nil {
		return err
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(in io.Reader) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if err := s.r.refusal("DATA"); err != nil {
		return err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.r.onData != nil {
		s.r.onData()
	}
	s.r.took = append(s.r.took, letter{from: s.from, to: s.to, data: text})
	return nil
}

func (s *session) Reset()        { s.letter = letter{} }
func (s *session) Logout() error { return nil }

// at is the relay as Fanmail is to use it, with a password file.
func (r *relay) at(how alertmail.Security) alertmail.Relay {
	file := filepath.Join(r.t.TempDir(), "password")
	require.NoError(r.t, os.WriteFile(file, []byte(relayPassword+"\n"), 0o600))
	return alertmail.Relay{Addr: r.addr, Security: how, User: relayUser, PasswordFile: file, TLS: r.tls}
}

func TestARelayIsReachedEncryptedAndSignedInTo(t *testing.T) {
	t.Parallel()
	for how, s := range map[alertmail.Security]security{alertmail.StartTLS: {starttls: true}, alertmail.TLS: {implicit: true}} {
		r := serve(t, s)
		at := r.at(how)
		require.NoError(t, at.Check(t.Context()))
		require.Equal(t, 1, r.signed)
	}
}

// TestARelaysFaultsHaveAReason, and no error has the password.
func TestARelaysFaultsHaveAReason(t *testing.T) {
	t.Parallel()
	encrypted := serve(t, security{starttls: true})
	clear := serve(t, security{})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	with := func(r *relay, how alertmail.Security, change func(*alertmail.Relay)) alertmail.Relay {
		at := r.at(how)
		change(&at)
		return at
	}
	for name, c := range map[string]struct {
		relay  alertmail.Relay
		reason alertmail.Reason
	}{
		"nobody listens":        {with(encrypted, alertmail.StartTLS, func(r *alertmail.Relay) { r.Addr = closed.Addr().String() }), alertmail.Unreachable},
		"no STARTTLS":           {with(clear, alertmail.StartTLS, func(*alertmail.Relay) {}), alertmail.Untrusted},
		"another authority":     {with(encrypted, alertmail.StartTLS, func(r *alertmail.Relay) { r.TLS = nil }), alertmail.Untrusted},
		"TLS where STARTTLS is": {with(encrypted, alertmail.TLS, func(*alertmail.Relay) {}), alertmail.Untrusted},
		"wrong password": {with(encrypted, alertmail.StartTLS, func(r *alertmail.Relay) {
			r.PasswordFile, r.Password = "", "hunter2-wrong"
		}), alertmail.Credentials},
		"no password file": {with(encrypted, alertmail.StartTLS, func(r *alertmail.Relay) { r.PasswordFile += ".gone" }), alertmail.Credentials},
		"no sign-in":       {with(clear, alertmail.Clear, func(*alertmail.Relay) {}), alertmail.Credentials},
	} {
		err := c.relay.Check(t.Context())
		var failure *alertmail.Error
		require.ErrorAs(t, err, &failure, name)
		require.Equal(t, c.reason, failure.Reason, "%s: %v", name, err)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
	require.Zero(t, encrypted.signed)
	require.Empty(t, clear.letters())
}
