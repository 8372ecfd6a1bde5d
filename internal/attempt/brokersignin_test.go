package attempt

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

// operated is a broker whose accounts and users are JWTs, as those of Synadia Cloud are.
type operated struct {
	t        *testing.T
	srv      *server.Server
	key      nkeys.KeyPair
	accounts *server.MemAccResolver
}

func public(t *testing.T, key nkeys.KeyPair) string {
	t.Helper()
	name, err := key.PublicKey()
	require.NoError(t, err)
	return name
}

func startOperated(t *testing.T) *operated {
	t.Helper()
	key, err := nkeys.CreateOperator()
	require.NoError(t, err)
	o := &operated{t: t, key: key, accounts: &server.MemAccResolver{}}
	system := o.account(nil)
	o.srv, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: natstest.MaxStore, NoSigs: true, NoLog: true,
		TrustedKeys: []string{public(t, key)}, AccountResolver: o.accounts, SystemAccount: system.name,
	})
	require.NoError(t, err)
	o.srv.Start()
	t.Cleanup(func() { o.srv.Shutdown(); o.srv.WaitForShutdown() })
	require.True(t, o.srv.ReadyForConnections(20*time.Second))
	return o
}

func (o *operated) url() string { return "nats://" + o.srv.Addr().String() }

// operatedAccount is an account of the operator.
type operatedAccount struct {
	o      *operated
	name   string
	key    nkeys.KeyPair
	claims *jwt.AccountClaims
}

// account makes an account with JetStream, unless change takes it away.
func (o *operated) account(change func(*jwt.AccountClaims)) *operatedAccount {
	o.t.Helper()
	key, err := nkeys.CreateAccount()
	require.NoError(o.t, err)
	a := &operatedAccount{o: o, key: key, name: public(o.t, key)}
	a.claims = jwt.NewAccountClaims(a.name)
	if change != nil {
		a.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: 1 << 20, DiskStorage: 1 << 20, Streams: 10, Consumer: 10}
		change(a.claims)
	}
	token, err := a.claims.Encode(o.key)
	require.NoError(o.t, err)
	require.NoError(o.t, o.accounts.Store(a.name, token))
	return a
}

// user returns the text of a .creds file.
func (a *operatedAccount) user(change func(*jwt.UserClaims)) string {
	a.o.t.Helper()
	key, err := nkeys.CreateUser()
	require.NoError(a.o.t, err)
	claims := jwt.NewUserClaims(public(a.o.t, key))
	if change != nil {
		change(claims)
	}
	token, err := claims.Encode(a.key)
	require.NoError(a.o.t, err)
	seed, err := key.Seed()
	require.NoError(a.o.t, err)
	text, err := jwt.FormatUserConfig(token, seed)
	require.NoError(a.o.t, err)
	return string(text)
}

// connect opens a connection. An account with a limit may still count one that was closed a moment ago.
func (a *operatedAccount) connect() *nats.Conn {
	a.o.t.Helper()
	var nc *nats.Conn
	require.EventuallyWithT(a.o.t, func(c *assert.CollectT) {
		var err error
		nc, err = nats.Connect(a.o.url(), nats.UserCredentialBytes([]byte(a.user(nil))))
		require.NoError(c, err)
	}, time.Minute, 10*time.Millisecond)
	a.o.t.Cleanup(nc.Close)
	return nc
}

// stream makes the account's stream.
func (a *operatedAccount) stream() {
	a.o.t.Helper()
	nc := a.connect()
	js, err := jetstream.New(nc)
	require.NoError(a.o.t, err)
	_, err = js.CreateStream(a.o.t.Context(), jetstream.StreamConfig{Name: "IN", Subjects: []string{"mail.in"}, Storage: jetstream.MemoryStorage})
	require.NoError(a.o.t, err)
	nc.Close()
}

func creds(text string) *endpoint.Auth {
	return &endpoint.Auth{Type: endpoint.Creds, Credentials: text}
}

// showsNothing checks that no part of the credentials is in a result.
func showsNothing(t *testing.T, r *Result, text string) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		if len(line) > 20 && !strings.Contains(line, "--") && !strings.Contains(line, " ") {
			require.NotContains(t, r.Error+r.Detail+r.Response, line[:20])
		}
	}
}

func unlimited(*jwt.AccountClaims) {}

func TestACredsFileSignsInUntilItIsRevokedOrExpires(t *testing.T) {
	t.Parallel()
	o := startOperated(t)
	a := o.account(unlimited)
	a.stream()
	p := NewPoster(local())
	t.Cleanup(p.Close)
	post := func(text string) Result {
		r := p.Post(t.Context(), message(t, o.url(), brokerEndpoint(t, 1, creds(text)), fmt.Sprint("evt_", time.Now().UnixNano()), "{}"))
		showsNothing(t, &r, text)
		return r
	}
	var name string
	text := a.user(func(u *jwt.UserClaims) { name = u.Subject })
	r := post(text)
	require.True(t, r.Delivered, "%+v", r)

	a.claims.Revoke(name)
	token, err := a.claims.Encode(o.key)
	require.NoError(t, err)
	require.NoError(t, o.accounts.Store(a.name, token))
	account, err := o.srv.LookupAccount(a.name)
	require.NoError(t, err)
	claims, err := jwt.DecodeAccountClaims(token)
	require.NoError(t, err)
	o.srv.UpdateAccountClaims(account, claims)
	p.opens(t, 0)
	r = post(text)
	require.Equal(t, ReasonClient, r.Reason, "%+v", r)
	require.Equal(t, textCredentials, r.Error)

	// It expires while the connection is open.
	at := time.Now().Add(2 * time.Second).Unix()
	text = a.user(func(u *jwt.UserClaims) { u.Expires = at })
	require.True(t, post(text).Delivered)
	p.opens(t, 0)
	r = post(text)
	require.Equal(t, ReasonClient, r.Reason, "%+v", r)
	require.Equal(t, textCredentials+", which have expired on "+time.Unix(at, 0).UTC().Format(endpoint.DateFormat)+"; bring new ones", r.Error)
	require.True(t, post(a.user(nil)).Delivered, "new ones")

	stranger, err := nkeys.CreateAccount()
	require.NoError(t, err)
	r = post((&operatedAccount{o: o, key: stranger}).user(nil))
	require.Equal(t, textCredentials, r.Error, "%+v", r)
	whole := a.user(nil)
	token, _, _ = strings.Cut(whole, "-----BEGIN USER NKEY SEED")
	r = post(token + "-----BEGIN USER NKEY SEED-----\nSUAgarbled\n------END USER NKEY SEED------\n")
	require.Equal(t, ReasonRequest, r.Reason)
	require.Equal(t, errCreds.text, r.Error)
}

func TestTheLimitsOfAnAccountAreErrorsThatNameThem(t *testing.T) {
	t.Parallel()
	o := startOperated(t)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	post := func(a *operatedAccount, body string) Result {
		e, err := NewEndpoint([16]byte{}, [16]byte{1}, &endpoint.Settings{Subject: "mail.in", Auth: creds(a.user(nil))}, 0)
		require.NoError(t, err)
		return p.Post(t.Context(), message(t, o.url(), e, fmt.Sprint("evt_", time.Now().UnixNano()), body))
	}
	small := o.account(func(a *jwt.AccountClaims) { a.Limits.Payload = 1000 })
	small.stream()
	for range 5 { // also before the client knows the limit
		r := post(small, strings.Repeat("x", 900))
		require.Equal(t, ReasonRequest, r.Reason, "%+v", r)
		require.Regexp(t, `^the message has 10\d\d bytes with its headers; the broker's max_payload for the account is 1000$`, r.Error)
	}
	r := post(small, "{}")
	require.True(t, r.Delivered, "%+v", r)

	few := o.account(func(a *jwt.AccountClaims) { a.Limits.Conn = 1 })
	few.stream()
	other := few.connect()
	r = post(few, "{}")
	require.Equal(t, ReasonLimited, r.Reason, "%+v", r)
	require.Equal(t, textConnections, r.Error)
	other.Close()
	require.Eventually(t, func() bool { return post(few, "{}").Delivered }, time.Minute, 10*time.Millisecond)

	r = post(o.account(func(a *jwt.AccountClaims) { a.Limits.Subs = 0 }), "{}")
	require.Equal(t, ReasonLimited, r.Reason, "%+v", r)
	require.Equal(t, textSubs, r.Error)

	r = post(o.account(func(a *jwt.AccountClaims) { a.Limits.JetStreamLimits = jwt.JetStreamLimits{} }), "{}")
	require.Equal(t, ReasonServer, r.Reason, "%+v", r)
	require.Equal(t, textNoStream, r.Error)
}

func TestABrokerWithoutRoomForAConnectionIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "max_connections: 1\n")
	c.stream("a", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	r := p.Post(t.Context(), message(t, "nats://"+c.addr, brokerEndpoint(t, 1, basic("a")), "evt_1", "{}"))
	require.Equal(t, ReasonLimited, r.Reason, "%+v", r)
	require.Equal(t, textConnections, r.Error)
	require.True(t, r.Overload())
}

func TestAStreamThatTakesOnlySmallMessagesSaysSo(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	c.stream("a", func(s *jetstream.StreamConfig) { s.MaxMsgSize = 300 })
	p := NewPoster(local())
	t.Cleanup(p.Close)
	r := p.Post(t.Context(), message(t, "nats://"+c.addr, brokerEndpoint(t, 1, basic("a")), "evt_1", strings.Repeat("x", 300)))
	require.Equal(t, ReasonClient, r.Reason, "%+v", r)
	require.Equal(t, 400, r.StatusCode)
	require.Regexp(t, `^the broker answered: message size exceeds maximum allowed: the message has 4\d\d bytes with its headers, and the limit is max_msg_size of the stream \(error 10054\)$`, r.Error)
}

func TestTheSeedOfAnNKeySignsIn(t *testing.T) {
	t.Parallel()
	key, err := nkeys.CreateUser()
	require.NoError(t, err)
	seed, err := key.Seed()
	require.NoError(t, err)
	at, _ := natstest.Configured(t, fmt.Sprintf("authorization { users: [ {nkey: %s} ] }", public(t, key)))
	nc, err := nats.Connect(at, nats.Nkey(public(t, key), key.Sign))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "IN", Subjects: []string{"mail.in"}})
	require.NoError(t, err)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	r := p.Post(t.Context(), message(t, at, brokerEndpoint(t, 1, creds(" "+string(seed)+"\r\n")), "evt_1", "{}"))
	require.True(t, r.Delivered, "%+v", r)
	other, err := nkeys.CreateUser()
	require.NoError(t, err)
	seed, err = other.Seed()
	require.NoError(t, err)
	r = p.Post(t.Context(), message(t, at, brokerEndpoint(t, 1, creds(string(seed))), "evt_2", "{}"))
	require.Equal(t, textCredentials, r.Error)
	showsNothing(t, &r, string(seed))
}

// certified starts a broker with TLS, and returns its URL of the scheme tls, its authority and the certificate of its user.
func certified(t *testing.T, more string) (at, authority string, user *endpoint.Auth) {
	t.Helper()
	files := tlstest.In(t.TempDir(), "broker")
	tlstest.New(t).Write(files, 1)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	at, _ = natstest.Configured(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, timeout: 30, %s }\n", files.Cert, files.Key, files.CA, more)+accounts)
	return "tls://" + strings.TrimPrefix(strings.TrimPrefix(at, "tls://"), "nats://"), read(files.CA), &endpoint.Auth{Type: endpoint.MTLS, Certificate: read(files.Cert), PrivateKey: read(files.Key)}
}

func TestABrokerThatWaitsForTheHandshakeGetsIt(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"true", "auto", "false"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			at, authority, _ := certified(t, "handshake_first: "+first)
			c := &customer{t: t, addr: strings.TrimPrefix(at, "tls://")}
			options := []nats.Option{func(o *nats.Options) error { return nats.RootCAs(writeCA(t, authority))(o) }}
			if first == "true" {
				options = append(options, nats.TLSHandshakeFirst())
			}
			c.stream("a", nil, options...)
			p := NewPoster(local())
			t.Cleanup(p.Close)
			e := brokerEndpoint(t, 1, basic("a"), func(s *endpoint.Settings) { s.CA = authority })
			for i := range 3 {
				r := p.Post(t.Context(), message(t, at, e, fmt.Sprint("evt_", i), "{}"))
				require.True(t, r.Delivered, "%+v", r)
			}
			require.EqualValues(t, 1, p.openConnections())
			r := p.Post(t.Context(), message(t, at, brokerEndpoint(t, 2, basic("a")), "evt_9", "{}"))
			require.Equal(t, textCertificate, r.Error, "it is verified")
		})
	}
}

func writeCA(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/ca.crt"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestAClientCertificateSignsInToABroker(t *testing.T) {
	t.Parallel()
	// The name of the certificate is the user's.
	at, authority, user := certified(t, "verify_and_map: true")
	ca := func(s *endpoint.Settings) { s.CA = authority }
	p := NewPoster(local())
	t.Cleanup(p.Close)
	r := p.Post(t.Context(), message(t, at, brokerEndpoint(t, 1, user, ca), "evt_1", "{}"))
	require.Equal(t, textNoStream, r.Error, "it has signed in: %+v", r)
	r = p.Post(t.Context(), message(t, at, brokerEndpoint(t, 2, basic("a"), ca), "evt_1", "{}"))
	require.Equal(t, ReasonTLS, r.Reason, "%+v", r)
	require.Equal(t, textTLS, r.Error)
	other := tlstest.In(t.TempDir(), "other")
	tlstest.New(t).Write(other, 2)
	foreign := &endpoint.Auth{Type: endpoint.MTLS}
	for path, field := range map[string]*string{other.Cert: &foreign.Certificate, other.Key: &foreign.PrivateKey} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		*field = string(text)
	}
	r = p.Post(t.Context(), message(t, at, brokerEndpoint(t, 3, foreign, ca), "evt_1", "{}"))
	require.Equal(t, textTLS, r.Error, "%+v", r)
}
