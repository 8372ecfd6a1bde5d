package pgtest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy forwards connections to a server of Postgres.
type Proxy struct {
	listener net.Listener
	server   string
	frozen   atomic.Bool

	mu    sync.Mutex
	ended bool
	conns []net.Conn
}

// NewProxy returns a proxy before a server's address that listens at an address of a network, such as "tcp" and
// "127.0.0.1:0". It ends with the test.
func NewProxy(t testing.TB, server, network, address string) *Proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
	require.NoError(t, err)
	p := &Proxy{listener: l, server: server}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.ended = true
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		running.Wait()
	})
	return p
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Freeze makes it forward nothing more. Its connections stay open, and what comes is acknowledged and dropped.
func (p *Proxy) Freeze() { p.frozen.Store(true) }

func (p *Proxy) serve(client net.Conn) {
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	ended := p.ended
	p.mu.Unlock()
	if ended {
		_, _ = client.Close(), server.Close()
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { p.copy(server, client) })
	p.copy(client, server)
	ways.Wait()
}

func (p *Proxy) copy(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.frozen.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
