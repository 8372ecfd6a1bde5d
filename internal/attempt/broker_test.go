package attempt

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

// accounts are two tenants' accounts, with a stream each, and users that may do less.
const accounts = `
jetstream: enabled
accounts {
  A { jetstream: enabled, users: [ {user: a, password: "secret-a", permissions: {publish: {deny: "forbidden"}}}, {user: deaf, password: "secret-deaf", permissions: {subscribe: "_INBOX_own.>"}}, {user: mute, password: "secret-mute", permissions: {publish: "elsewhere"}} ] }
  B { jetstream: enabled, users: [ {user: b, password: "secret-b"} ] }
  MAPPED { jetstream: enabled, users: [ {user: "CN=fanmail"} ] }
  NONE { users: [ {user: none, password: "secret-none"} ] }
  SYS { users: [ {user: sys, password: sys} ] }
}
system_account: SYS
`

// customer is a broker with the accounts.
type customer struct {
	t    *testing.T
	addr string
}

func startCustomer(t *testing.T, more string) *customer {
	t.Helper()
	at, _ := natstest.Configured(t, accounts+more)
	u, err := url.Parse(at)
	require.NoError(t, err)
	return &customer{t: t, addr: u.Host}
}

// stream makes the stream of an account, and returns it.
func (c *customer) stream(user string, change func(*jetstream.StreamConfig), options ...nats.Option) jetstream.Stream {
	c.t.Helper()
	nc, err := nats.Connect("nats://"+c.addr, append(options, nats.UserInfo(user, "secret-"+user))...)
	require.NoError(c.t, err)
	c.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(c.t, err)
	config := jetstream.StreamConfig{Name: "IN", Subjects: []string{"mail.in"}, Storage: jetstream.MemoryStorage}
	if change != nil {
		change(&config)
	}
	s, err := js.CreateStream(c.t.Context(), config)
	require.NoError(c.t, err)
	return s
}

func local() Config {
	return Config{Timeout: 20 * time.Second, UserAgent: "test", AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// brokerEndpoint is the endpoint of a webhook, whose id begins with a byte.
func brokerEndpoint(t *testing.T, id byte, auth *endpoint.Auth, change ...func(*endpoint.Settings)) *Endpoint {
	t.Helper()
	s := endpoint.Settings{Subject: "mail.in", Auth: auth}
	for _, f := range change {
		f(&s)
	}
	e, err := NewEndpoint([16]byte{}, [16]byte{id}, &s, 0)
	require.NoError(t, err)
	return e
}

func basic(user string) *endpoint.Auth {
	return &endpoint.Auth{Type: endpoint.Basic, Username: user, Password: "secret-" + user}
}

// message is a request with an event's id.
func message(t *testing.T, at string, e *Endpoint, id, body string) Request {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	return Request{URL: u, Header: http.Header{"Webhook-Id": {id}, "Webhook-Signature": {"v1,x"}}, Body: Bytes([]byte(body)), Length: int64(len(body)), Endpoint: e}
}

func TestAMessageIsDeliveredWhenJetStreamHasStoredItForItsTenantAlone(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	a, b := c.stream("a", nil), c.stream("b", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	ofA, ofB := brokerEndpoint(t, 1, basic("a")), brokerEndpoint(t, 2, basic("b"))
	r := p.Post(t.Context(), message(t, "nats://"+c.addr, ofA, "evt_1", `{"n":1}`))
	require.True(t, r.Delivered, "%+v", r)
	require.Equal(t, ReasonOK, r.Reason)
	require.Equal(t, "stored in the stream IN as 1", r.Response)
	require.Positive(t, r.Latency)
	require.True(t, p.Post(t.Context(), message(t, "nats://"+c.addr, ofB, "evt_2", `{"n":2}`)).Delivered)
	again := p.Post(t.Context(), message(t, "nats://"+c.addr, ofA, "evt_1", `{"n":1}`))
	require.True(t, again.Delivered)
	require.Equal(t, "the stream IN has had it already, as 1", again.Response)
	for want, s := range map[string]jetstream.Stream{"1": a, "2": b} {
		info, err := s.Info(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, info.State.Msgs)
		m, err := s.GetMsg(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, `{"n":`+want+`}`, string(m.Data))
		require.Equal(t, nats.Header{
			"Webhook-Id": {"evt_" + want}, "Nats-Msg-Id": {"evt_" + want}, "Webhook-Signature": {"v1,x"}, "Content-Type": {"application/json"}, "User-Agent": {"test"},
		}, m.Header, "the headers of a POST, and no credentials")
	}
}

func TestWhatABrokerRefusesIsAnErrorThatSaysWhy(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	c.stream("a", func(s *jetstream.StreamConfig) { s.MaxMsgs, s.Discard = 1, jetstream.DiscardNew })
	nobody := refusedAddr(t)
	p, strict := NewPoster(local()), NewPoster(Config{Timeout: 20 * time.Second, AllowHTTP: true})
	t.Cleanup(p.Close)
	t.Cleanup(strict.Close)
	require.True(t, p.Post(t.Context(), message(t, "nats://"+c.addr, brokerEndpoint(t, 1, basic("a")), "evt_1", "{}")).Delivered)
	wrong := basic("a")
	wrong.Password = "hunter2"
	for name, x := range map[string]struct {
		by     *Poster
		url    string
		e      *Endpoint
		reason string
		says   string
		status int
	}{
		"a full stream":      {p, "nats://" + c.addr, brokerEndpoint(t, 1, basic("a")), ReasonServer, "the broker answered: maximum messages exceeded (error 10077)", 503},
		"no stream":          {p, "nats://" + c.addr, brokerEndpoint(t, 2, basic("b")), ReasonServer, textNoStream, 0},
		"no JetStream":       {p, "nats://" + c.addr, brokerEndpoint(t, 3, basic("none")), ReasonServer, textNoStream, 0},
		"a wrong password":   {p, "nats://" + c.addr, brokerEndpoint(t, 4, wrong), ReasonClient, textCredentials, 0},
		"no credentials":     {p, "nats://" + c.addr, brokerEndpoint(t, 5, nil), ReasonClient, textCredentials, 0},
		"no permission":      {p, "nats://" + c.addr, brokerEndpoint(t, 6, basic("mute")), ReasonClient, `Permissions Violation for Publish to "mail.in"`, 0},
		"no inbox":           {p, "nats://" + c.addr, brokerEndpoint(t, 12, basic("deaf")), ReasonClient, textInbox, 0},
		"no broker":          {p, "nats://" + nobody, brokerEndpoint(t, 7, nil), ReasonRefused, textRefused, 0},
		"no TLS":             {p, "tls://" + c.addr, brokerEndpoint(t, 8, basic("a")), ReasonTLS, textNoTLS, 0},
		"no public address":  {strict, "nats://" + c.addr, brokerEndpoint(t, 9, basic("a")), ReasonBlocked, "the address is not public", 0},
		"bad credentials":    {p, "nats://" + c.addr, brokerEndpoint(t, 10, &endpoint.Auth{Type: endpoint.Creds, Credentials: "hunter2"}), ReasonRequest, "auth.credentials can't be read", 0},
		"a plain connection": {NewPoster(Config{Timeout: time.Second}), "nats://" + c.addr, brokerEndpoint(t, 11, nil), ReasonRequest, "plain http is off", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := x.by.Post(t.Context(), message(t, x.url, x.e, "evt_2", "{}"))
			require.False(t, r.Delivered)
			require.Equal(t, x.reason, r.Reason, "%+v", r)
			require.Contains(t, r.Error, x.says)
			require.Equal(t, x.status, r.StatusCode)
			require.NotContains(t, r.Error+r.Detail, "hunter2")
			require.NotContains(t, r.Error, c.addr)
		})
	}
}

// refusedAddr is an address at which nobody listens.
func refusedAddr(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func TestABrokerWithTLSIsVerified(t *testing.T) {
	t.Parallel()
	files := tlstest.In(t.TempDir(), "broker")
	tlstest.New(t).Write(files, 1)
	c := startCustomer(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q }\n", files.Cert, files.Key))
	s := c.stream("a", nil, nats.RootCAs(files.CA))
	authority, err := os.ReadFile(files.CA)
	require.NoError(t, err)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	ca := func(s *endpoint.Settings) { s.CA = string(authority) }
	for _, scheme := range []string{"tls://", "nats://"} {
		r := p.Post(t.Context(), message(t, scheme+c.addr, brokerEndpoint(t, 1, basic("a"), ca), "evt_"+scheme, "{}"))
		require.True(t, r.Delivered, "%+v", r)
		r = p.Post(t.Context(), message(t, scheme+c.addr, brokerEndpoint(t, 2, basic("a")), "evt_3", "{}"))
		require.Equal(t, ReasonTLS, r.Reason, "nobody vouches for it: %+v", r)
		require.Equal(t, textCertificate, r.Error)
	}
	info, err := s.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, info.State.Msgs)
}

// openConnections is how many connections the poster has.
func (p *Poster) openConnections() int64 { return p.transports.dialer.conns.open.Load() }

// rogue is a server that says what it is told to.
func rogue(t *testing.T, talk func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				talk(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return l.Addr().String()
}

// accept is the beginning of the protocol, as a broker says it.
func accept(conn net.Conn, in *bufio.Reader) {
	_, _ = conn.Write([]byte(`INFO {"server_id":"x","version":"2.12.0","headers":true,"max_payload":1048576}` + "\r\n"))
	for {
		line, err := in.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "PING") {
			_, _ = conn.Write([]byte("PONG\r\n"))
			return
		}
	}
}

func TestABrokerThatIsNoneOrHostileHoldsNothing(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		talk   func(net.Conn, *bufio.Reader)
		reason string
		says   string
	}{
		"an HTTP server": {func(conn net.Conn, in *bufio.Reader) { _, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, ReasonConnection, textBroker},
		"an endless first line": {func(conn net.Conn, in *bufio.Reader) {
			for {
				if _, err := conn.Write([]byte(strings.Repeat("INFO ", 1000))); err != nil {
					return
				}
			}
		}, ReasonConnection, textBroker},
		"a message of two gigabytes": {func(conn net.Conn, in *bufio.Reader) {
			accept(conn, in)
			_, _ = conn.Write([]byte("MSG _INBOX.x 1 2000000000\r\nx"))
			_, _ = in.ReadString(0)
		}, ReasonConnection, textBroker},
		"one that hangs up":  {func(conn net.Conn, in *bufio.Reader) { accept(conn, in) }, ReasonConnection, ""},
		"one that is silent": {func(conn net.Conn, in *bufio.Reader) { _, _ = in.ReadString(0) }, ReasonTimeout, "no complete answer within 2 s"},
		"one that never answers": {func(conn net.Conn, in *bufio.Reader) {
			accept(conn, in)
			_, _ = in.ReadString(0)
		}, ReasonTimeout, "no complete answer within 2 s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := local()
			config.Timeout = 2 * time.Second
			p := NewPoster(config)
			t.Cleanup(p.Close)
			r := p.Post(t.Context(), message(t, "nats://"+rogue(t, x.talk), brokerEndpoint(t, 1, nil), "evt_1", "{}"))
			require.False(t, r.Delivered)
			require.Equal(t, x.reason, r.Reason, "%+v", r)
			require.Contains(t, r.Error, x.says)
		})
	}
}

func TestNothingIsPublishedOnceTheLeaseIsLostOrTheProcessStops(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	s := c.stream("a", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	m := message(t, "nats://"+c.addr, brokerEndpoint(t, 1, basic("a")), "evt_1", "{}")
	m.LeaseValid = func() bool { return false }
	r := p.Post(t.Context(), m)
	require.True(t, r.Stopped())
	require.Equal(t, ErrLeaseLost.Error(), r.Error)
	ctx, stop := context.WithCancelCause(t.Context())
	stop(ErrStopped)
	r = p.Post(ctx, message(t, "nats://"+rogue(t, func(_ net.Conn, in *bufio.Reader) { _, _ = in.ReadString(0) }), brokerEndpoint(t, 2, nil), "evt_1", "{}"))
	require.True(t, r.Stopped(), "%+v", r)
	info, err := s.Info(t.Context())
	require.NoError(t, err)
	require.Zero(t, info.State.Msgs)
}

func TestAURLOfABrokerIsNormalized(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"\tTLS://Broker.Example.com:4222\n": "tls://broker.example.com", "tls://broker.example.com:443/": "tls://broker.example.com:443", "nats://[2001:4860:4860::8888]": "nats://[2001:4860:4860::8888]",
	} {
		require.True(t, BrokerURL(raw))
		got, err := Guard{}.NormalizeBroker(raw, true)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for raw, says := range map[string]string{
		"tls://user:pass@broker.example.com": "credentials", "tls://broker.example.com/mail.in": "subject has a field", "tls://broker.example.com?x": "subject has a field",
		"tls://10.0.0.1": "not public", "tls://broker.example.com:22": "port 22", "https://broker.example.com": "NATS broker", "tls://": "absolute URL", "tls://a#b": "fragment",
	} {
		_, err := Guard{}.NormalizeBroker(raw, true)
		require.ErrorContains(t, err, says, raw)
	}
	_, err := Guard{}.NormalizeBroker("nats://broker.example.com", false)
	require.ErrorContains(t, err, "tls://")
	_, err = Guard{}.NormalizeURL("tls://broker.example.com", true)
	require.Error(t, err)
}
