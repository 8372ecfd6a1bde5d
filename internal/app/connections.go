package app

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// perAddress bounds how many connections of a listener one client address has
// open. An IPv6 client counts by its /64, which one customer of a provider has for
// itself. A connection above the limit gets a 429 and is closed.
type perAddress struct {
	net.Listener
	limit   int
	refused prometheus.Counter

	mu   sync.Mutex
	open map[netip.Prefix]int
}

// limitConnections wraps a listener of HTTP connections. limit 0: no limit.
func limitConnections(l net.Listener, limit int, refused prometheus.Counter) net.Listener {
	if limit == 0 {
		return l
	}
	return &perAddress{Listener: l, limit: limit, refused: refused, open: map[netip.Prefix]int{}}
}

// tooManyConnections is the response to a connection above the limit. It comes
// before the request, so that nothing has to be read.
const tooManyConnections = "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\n" +
	"Content-Type: application/problem+json\r\nContent-Length: 136\r\n\r\n" +
	`{"title":"Too Many Requests","status":429,"detail":"too many open connections of one address; see FANMAIL_MAX_CONNECTIONS_PER_ADDRESS"}` + "\n"

// Accept returns the next connection that is within its address's limit.
func (p *perAddress) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := network(c.RemoteAddr())
		if p.take(from) {
			return &counted{Conn: c, release: sync.OnceFunc(func() { p.release(from) })}, nil
		}
		p.refused.Inc()
		// The socket's empty send buffer takes it without waiting.
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte(tooManyConnections))
		_ = c.Close()
	}
}

func (p *perAddress) take(from netip.Prefix) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[from] >= p.limit {
		return false
	}
	p.open[from]++
	return true
}

func (p *perAddress) release(from netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[from]--; p.open[from] == 0 {
		delete(p.open, from)
	}
}

// network is what a client is counted by; zero for an address that is not TCP's.
func network(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite ends the sending half, which net/http does so that a client reads a
// response before the connection is gone.
func (c *counted) CloseWrite() error { return closeWrite(c.Conn) }
