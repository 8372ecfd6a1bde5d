package attempt

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// receiver answers connections by hand until the test ends and returns its address.
func receiver(t *testing.T, serve func(n int, conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				serve(n, conn)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String()
}

// readRequest reads a whole request; false at the end of the connection.
func readRequest(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// trusting is a poster that trusts a test server's certificate.
func trusting(t *testing.T, s *httptest.Server, change func(*Config)) *Poster {
	t.Helper()
	c := Config{Timeout: time.Minute, AllowHTTP: true, AllowNetworks: loopback}
	if s != nil && s.Certificate() != nil {
		c.roots = x509.NewCertPool()
		c.roots.AddCert(s.Certificate())
	}
	if change != nil {
		change(&c)
	}
	p := NewPoster(c)
	t.Cleanup(p.Close)
	return p
}

// The server closes each kept-alive connection when the next request arrives, as one
// that idles out at that moment.
func TestAKeptAliveConnectionThatTheServerClosesCostsNoAttempt(t *testing.T) {
	t.Parallel()
	for _, reset := range []bool{false, true} {
		var answered atomic.Int32
		addr := receiver(t, func(_ int, conn net.Conn) {
			r := bufio.NewReader(conn)
			if !readRequest(r) {
				return
			}
			answered.Add(1)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			if !reset {
				_ = readRequest(r)
				return
			}
			_, _ = r.Peek(1) // the rest stays unread, so that closing resets the connection
		})
		p := poster(t, time.Minute)
		for n := range 5 {
			got := p.Post(t.Context(), request(t, "http://"+addr+"/"))
			require.True(t, got.Delivered, "attempt %d: %s", n, got.Error)
		}
		require.EqualValues(t, 5, answered.Load())
	}
}

// A server that reads each request and then resets gets a request twice at most, however many idle connections there are.
func TestAnAttemptIsRepeatedOnceAtMost(t *testing.T) {
	t.Parallel()
	const idle = 8
	var resetting atomic.Bool
	var read atomic.Int32
	var together sync.WaitGroup
	together.Add(idle)
	addr := receiver(t, func(_ int, conn net.Conn) {
		r := bufio.NewReader(conn)
		for readRequest(r) {
			if resetting.Load() {
				read.Add(1)
				_ = conn.(*net.TCPConn).SetLinger(0)
				return
			}
			together.Done() // all at once, each on a connection of its own
			together.Wait()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	p := poster(t, time.Minute)
	var group sync.WaitGroup
	for range idle {
		group.Go(func() { assert.True(t, p.Post(t.Context(), request(t, "http://"+addr+"/")).Delivered) })
	}
	group.Wait()
	resetting.Store(true)
	got := p.Post(t.Context(), request(t, "http://"+addr+"/"))
	require.False(t, got.Delivered)
	require.Equal(t, ReasonConnection, got.Reason)
	require.EqualValues(t, 2, read.Load())
}

func TestTheMarkOfIdempotenceIsNotSent(t *testing.T) {
	t.Parallel()
	headers := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header }))
	t.Cleanup(s.Close)
	require.True(t, poster(t, time.Minute).Post(t.Context(), request(t, s.URL)).Delivered)
	require.NotContains(t, <-headers, "X-Idempotency-Key")
}

// A fresh connection that is closed without an answer is a failed attempt, not a loop.
func TestAServerThatAlwaysClosesFailsTheAttempt(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	addr := receiver(t, func(_ int, conn net.Conn) {
		connections.Add(1)
		_ = readRequest(bufio.NewReader(conn))
	})
	got := poster(t, time.Minute).Post(t.Context(), request(t, "http://"+addr+"/"))
	require.Equal(t, ReasonConnection, got.Reason)
	require.EqualValues(t, 1, connections.Load())
}

func TestABusyConnectionIsReplacedAndFollowsTheName(t *testing.T) {
	t.Parallel()
	var port string
	serve := func(seen *atomic.Int32) func(http.ResponseWriter, *http.Request) {
		return func(http.ResponseWriter, *http.Request) { seen.Add(1) }
	}
	var old, moved atomic.Int32
	first := httptest.NewServer(http.HandlerFunc(serve(&old)))
	t.Cleanup(first.Close)
	_, port, err := net.SplitHostPort(first.Listener.Addr().String())
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	require.NoError(t, err)
	second := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(serve(&moved)), ReadHeaderTimeout: time.Minute}}
	second.Start()
	t.Cleanup(second.Close)

	var changed atomic.Bool
	p := newPoster(Config{Timeout: time.Minute, AllowHTTP: true, AllowNetworks: loopback}, resolver(t, func(string) []netip.Addr {
		if changed.Load() {
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}))
	t.Cleanup(p.Close)
	require.Equal(t, connectionAge, p.transports.age)
	require.LessOrEqual(t, connectionAge, 5*time.Minute)
	p.transports.age = 100 * time.Millisecond
	to := request(t, "http://moves.example:"+port+"/")
	post := func() {
		to.Header = http.Header{}
		got := p.Post(t.Context(), to)
		require.True(t, got.Delivered, got.Error)
	}
	post()
	require.EqualValues(t, 1, old.Load())
	changed.Store(true)
	require.Eventually(t, func() bool { post(); return moved.Load() > 0 }, 30*time.Second, time.Millisecond)
}

// answers serves a fixed answer to each request, with TLS where a certificate is given.
func answers(t *testing.T, head string, certificate *tls.Certificate) string {
	t.Helper()
	addr := receiver(t, func(_ int, conn net.Conn) {
		if certificate != nil {
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12})
		}
		for r := bufio.NewReader(conn); readRequest(r); {
			if _, err := io.WriteString(conn, head); err != nil {
				return
			}
		}
	})
	if certificate != nil {
		return "https://" + addr + "/"
	}
	return "http://" + addr + "/"
}

func TestAStatusLineIsAnAnswerWhateverTheHeadersAre(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	many := func(bytes int) string {
		return strings.Repeat("X-Padding: "+strings.Repeat("p", 1011)+"\r\n", bytes/1024)
	}
	for head, code := range map[string]int{
		"HTTP/1.1 103 Early Hints\r\n" + many(70<<10) + "\r\nHTTP/1.1 103 Early Hints\r\n" + many(70<<10) + "\r\nHTTP/1.1 204 No Content\r\n\r\n": 204,
		"HTTP/1.1 200 OK\r\n" + many(headBytes-2048) + "Content-Length: 0\r\n\r\n":                                                                200,
		"HTTP/1.1 200 OK\r\n" + many(20<<10) + "Content-Length: 0\r\n\r\n":                                                                        200,
		"HTTP/1.1 204 No Content\r\n" + many(1<<20) + "\r\n":                                                                                      204,
		"HTTP/1.1 202\r\nX: " + strings.Repeat("y", 200<<10) + "\r\nContent-Length: 0\r\n\r\n":                                                    202,
		"HTTP/1.1 200 OK\r\nthis is no header\r\n\r\n":                                                                                            200,
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\n" + many(100<<10):                                                     201,
		"HTTP/1.1 503 Service Unavailable\r\n" + many(100<<10) + "Content-Length: 0\r\n\r\n":                                                      503,
		"HTTP/1.1 301 Moved Permanently\r\nno header either\r\n\r\n":                                                                              301,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: rot13\r\n\r\n":                                                                                     200,
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n":                                                                                           200,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + many(100<<10) + "Connection: close\r\n\r\n":                                                  200,
	} {
		for _, secure := range []bool{false, true} {
			var certificate *tls.Certificate
			if secure {
				certificate = &s.TLS.Certificates[0]
			}
			p := trusting(t, s, nil)
			for n := range 2 { // on a new connection and on one that was used
				got := p.Post(t.Context(), request(t, answers(t, head, certificate)))
				require.Equal(t, code, got.StatusCode, "%d, TLS %t: %.60q: %s", n, secure, head, got.Error)
				require.Equal(t, code < 300, got.Delivered)
			}
		}
	}
	for _, head := range []string{"HTTP/1.1 103 Early Hints\r\n" + many(2*earlyBytes), "HTTP/1.1 2OO OK\r\n\r\n", "SSH-2.0-x\r\n", "HTTP/1.1 200"} {
		addr := receiver(t, func(_ int, conn net.Conn) {
			_ = readRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, head)
		})
		got := poster(t, time.Minute).Post(t.Context(), request(t, "http://"+addr+"/"))
		require.Equal(t, ReasonConnection, got.Reason, head)
		require.Zero(t, got.StatusCode)
	}
}

func TestWhatTLSRefusesIsNoOverload(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.StartTLS()
	t.Cleanup(s.Close)
	certificate := s.TLS.Certificates[0]
	server := func(c *tls.Config) string {
		return receiver(t, func(_ int, conn net.Conn) {
			secured := tls.Server(conn, c)
			if secured.Handshake() == nil {
				_ = readRequest(bufio.NewReader(secured))
			}
		})
	}
	old := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	for name, c := range map[string]*tls.Config{
		"an old version":                     old,
		"a client's certificate, by TLS 1.3": {Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13},
		"a client's certificate, by TLS 1.2": {Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12},
		"no certificate for the name":        {GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, fmt.Errorf("unknown name") }},
		"no common protocol":                 {Certificates: []tls.Certificate{certificate}, NextProtos: []string{"spdy/3"}},
	} {
		got := trusting(t, s, nil).Post(t.Context(), request(t, "https://"+server(c)+"/"))
		require.Equal(t, ReasonTLS, got.Reason, "%s: %s", name, got.Error)
		require.False(t, got.Overload())
	}
	got := poster(t, time.Minute).Post(t.Context(), request(t, s.URL))
	require.Equal(t, ReasonTLS, got.Reason, "a certificate that nobody trusts")

	// A server that never answers the handshake.
	release := make(chan struct{})
	defer close(release)
	silent := receiver(t, func(int, net.Conn) { <-release })
	got = poster(t, 100*time.Millisecond).Post(t.Context(), request(t, "https://"+silent+"/"))
	require.Equal(t, ReasonTLS, got.Reason, got.Error)
	require.Contains(t, got.Error, "0.1 s")
	require.False(t, got.Overload())
}

func TestHTTP2IsSpokenWhereTheServerDoes(t *testing.T) {
	t.Parallel()
	protocols := make(chan string, 2)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
		w.Header().Set("X-Padding", strings.Repeat("p", 20<<10))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	p := trusting(t, s, nil)
	for range 2 {
		got := p.Post(t.Context(), request(t, s.URL))
		require.True(t, got.Delivered, got.Error)
		require.Equal(t, "HTTP/2.0", <-protocols)
	}
}

func TestACompressedErrorIsStoredReadable(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("the handler ran out of luck; ", 1000)
	var zipped, deflated bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := io.WriteString(z, text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	d := zlib.NewWriter(&deflated)
	_, err = io.WriteString(d, text)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	bomb := &bytes.Buffer{}
	z = gzip.NewWriter(bomb)
	_, err = z.Write(make([]byte, 64<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	var coding string
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", coding)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	p := poster(t, time.Minute)
	post := func(c string, b []byte) string {
		coding, body = c, b
		got := p.Post(t.Context(), request(t, s.URL))
		require.Equal(t, 500, got.StatusCode)
		return got.Response
	}
	require.Equal(t, text[:1024], post("gzip", zipped.Bytes()))
	require.Equal(t, text[:1024], post(" X-GZip", zipped.Bytes()))
	require.Equal(t, text[:1024], post("deflate", deflated.Bytes()))
	require.NotEmpty(t, post("gzip", zipped.Bytes()[:zipped.Len()/2]), "the beginning of a body that ends early")
	require.Empty(t, post("gzip", bomb.Bytes()), "NULs")
	require.Empty(t, post("gzip", nil))
	require.Contains(t, post("gzip", []byte("plain")), "can't be decoded")
	require.Contains(t, post("br", []byte{0x8b, 1, 2}), `its Content-Encoding is "br"`)
	require.Equal(t, "plain", post("identity", []byte("plain")))
}
