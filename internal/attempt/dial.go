package attempt

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/net/proxy"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	// headerBytes bounds the headers of an answer over HTTP/2, and those of all 1xx
	// answers before one.
	headerBytes = 1 << 20
	// proxyAddresses is how many of a name's addresses are tried through a proxy.
	proxyAddresses = 3
)

// handshakeError is a TLS handshake that failed.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// proxyError is a proxy that can't be reached, or that does not connect to an endpoint.
type proxyError struct {
	error

	status int // of the answer to CONNECT; 0 if there was none
}

func (e *proxyError) Unwrap() error { return e.error }

func throughProxy(err error) error {
	return &proxyError{error: fmt.Errorf("connect through the proxy: %w", err)}
}

// dialer opens connections to endpoints, directly or through a proxy. Without a proxy
// that filters, every address is judged after DNS, and the judged address is the one
// that is connected to.
type dialer struct {
	guard    Guard
	direct   *net.Dialer // its Control is the guard
	open     *net.Dialer // for the proxy itself, which the operator names
	resolver *net.Resolver
	proxy    *url.URL
	filters  bool
	tls      *tls.Config // its NextProtos are those where HTTP/2 may be spoken
	conns    *conns
}

func newDialer(c *Config, resolver *net.Resolver) *dialer {
	guard := Guard{Networks: c.AllowNetworks, Ports: c.AllowPorts}
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	open := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	direct := open
	direct.Control, direct.Resolver = guard.control(), resolver
	return &dialer{
		guard: guard, direct: &direct, open: &open, resolver: resolver, proxy: c.Proxy, filters: c.ProxyFilters,
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, RootCAs: c.roots,
			ClientSessionCache: tls.NewLRUClientSessionCache(sharedSessions),
		},
		conns: &conns{most: int64(c.Conns), mostHTTP2: int64(cmp.Or(c.HTTP2Conns, defaultHTTP2Conns))},
	}
}

// trusting returns the dialer with a TLS configuration of its own. Both count their
// connections together.
func (d *dialer) trusting(config *tls.Config) *dialer {
	own := *d
	own.tls = config
	return &own
}

// plain dials for a URL of the scheme http.
func (d *dialer) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &statusConn{Conn: conn}, nil
}

// secure dials for a URL of the scheme https and makes the handshake. An HTTP/2
// connection is a *[tls.Conn], which net/http asks for.
func (d *dialer) secure(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	secured, err := d.handshake(ctx, conn, host, addr)
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(tls.ConnectionState{}, err)
	}
	if err != nil {
		return nil, err
	}
	if secured.ConnectionState().NegotiatedProtocol == "h2" {
		conn.multiplexed()
		return secured, nil
	}
	return &statusConn{Conn: secured}, nil
}

// handshake closes conn if it fails.
func (d *dialer) handshake(ctx context.Context, conn *countedConn, host, addr string) (*tls.Conn, error) {
	late, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, fmt.Errorf("no TLS handshake within %g s", handshakeTimeout.Seconds()))
	defer cancel()
	config := d.tls.Clone()
	config.ServerName = host
	config.ClientSessionCache = sessions{cache: config.ClientSessionCache, addr: addr}
	if d.conns.enoughHTTP2() {
		config.NextProtos = []string{"http/1.1"}
	}
	secured := tls.Client(conn, config)
	conn.secured = secured
	err := secured.HandshakeContext(late)
	if err == nil {
		return secured, nil
	}
	_ = conn.Close()
	if late.Err() != nil {
		err = context.Cause(late)
	} else if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return nil, fmt.Errorf("TLS handshake: %w", err) // a server that is too busy hangs up as well
	}
	return nil, &handshakeError{fmt.Errorf("TLS handshake: %w", err)}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (*countedConn, error) {
	d.conns.room()
	conn, err := d.reach(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return d.conns.count(conn), nil
}

// reach connects to the address, directly or through the proxy.
func (d *dialer) reach(ctx context.Context, network, addr string) (net.Conn, error) {
	switch {
	case d.proxy == nil:
		return d.direct.DialContext(ctx, network, addr)
	case d.filters:
		return d.through(ctx, addr)
	}
	return d.checked(ctx, addr)
}

// checked resolves and judges a name here and asks the proxy for the address, so that
// the proxy's own resolver has no say.
func (d *dialer) checked(ctx context.Context, addr string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := d.resolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	lookup, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	found, err := d.resolver.LookupNetIP(lookup, "ip", host)
	if err != nil {
		return nil, err
	}
	judge := d.guard.judge()
	failed, tried := fmt.Errorf("%w: no address", ssrf.ErrProhibitedIP), 0
	for _, ip := range found {
		target := netip.AddrPortFrom(ip.Unmap(), uint16(port)) //nolint:gosec // LookupPort returns 0 to 65535
		if err := judge(target); err != nil {
			if tried == 0 {
				failed = err
			}
			continue
		}
		conn, err := d.through(ctx, target.String())
		if err == nil {
			return conn, nil
		}
		if failed, tried = err, tried+1; tried == proxyAddresses || ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// through asks the proxy for a connection to host:port.
func (d *dialer) through(ctx context.Context, target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if d.proxy.Scheme == "socks5" || d.proxy.Scheme == "socks5h" {
		return d.socks(ctx, target)
	}
	conn, err := d.open.DialContext(ctx, "tcp", proxyAddr(d.proxy))
	if err != nil {
		return nil, throughProxy(err)
	}
	if d.proxy.Scheme == "https" {
		secured := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.proxy.Hostname()})
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, throughProxy(err)
		}
		conn = secured
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = d.connect(conn, target)
	if !stop() && err == nil {
		err = throughProxy(ctx.Err())
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (d *dialer) socks(ctx context.Context, target string) (net.Conn, error) {
	var auth *proxy.Auth
	if u := d.proxy.User; u != nil {
		password, _ := u.Password()
		auth = &proxy.Auth{User: u.Username(), Password: password}
	}
	s, err := proxy.SOCKS5("tcp", proxyAddr(d.proxy), auth, d.open)
	if err != nil {
		return nil, throughProxy(err)
	}
	conn, err := s.(proxy.ContextDialer).DialContext(ctx, "tcp", target) //nolint:forcetypeassert // documented
	if err != nil {
		return nil, throughProxy(err)
	}
	return conn, nil
}

// connect sends CONNECT and reads the answer. The endpoint's first byte comes after
// ours, so nothing may follow the answer.
func (d *dialer) connect(conn net.Conn, target string) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"User-Agent": {"Fanmail/1"}}}
	if u := d.proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return throughProxy(err)
	}
	r := bufio.NewReader(io.LimitReader(conn, headBytes))
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return throughProxy(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &proxyError{error: fmt.Errorf("the proxy answered %d to CONNECT", resp.StatusCode), status: resp.StatusCode}
	}
	if r.Buffered() > 0 {
		return throughProxy(errors.New("it sent data before the request"))
	}
	return nil
}

// proxyAddr is the proxy's host and port, with the scheme's default port.
func proxyAddr(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if port == "" {
		port = "1080"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
