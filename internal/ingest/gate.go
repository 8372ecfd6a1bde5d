package ingest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

const (
	// smallServer is how many connections one client may always have, if the server takes that many.
	smallServer = 20
	// handshakeTimeout bounds the TLS handshake.
	handshakeTimeout = 30 * time.Second
)

// gate enforces the limits of the listener: it refuses connections over the limit
// and tracks the open ones. Connections in TLS are accepted from secured.
type gate struct {
	net.Listener
	max, share int // of all connections, and of those of one client
	tls        *tls.Config
	o          connOptions
	evicted    func()

	mu       sync.Mutex
	open     map[*conn]bool // false: evicted, and not counted
	counted  int
	clients  clients
	draining bool

	secured chan *conn
	stopped chan struct{}
	stop    sync.Once
}

// newGate limits a listener to limit connections. The connections have the options o.
func newGate(l net.Listener, limit int, cfg *tls.Config, o connOptions, evicted func()) *gate {
	g := &gate{
		Listener: l, max: limit, share: max(limit/2, min(limit, smallServer)), tls: cfg, o: o, evicted: evicted,
		open: make(map[*conn]bool), clients: make(clients), secured: make(chan *conn), stopped: make(chan struct{}),
	}
	g.o.closed, g.o.upgrade = g.leave, func(c *conn) { go g.upgrade(c) }
	return g
}

// Accept returns the next connection within the limits. The others get 421.
func (g *gate) Accept() (net.Conn, error) {
	for {
		nc, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, refusal := g.admit(nc)
		if refusal == nil {
			return c, nil
		}
		// The reply fits into the empty send buffer, so the write does not block.
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(nc, line(refusal))
		_ = nc.Close()
	}
}

// Close closes the listener.
func (g *gate) Close() error {
	g.stop.Do(func() { close(g.stopped) })
	return g.Listener.Close()
}

// admit takes a connection, or returns the reply that refuses it. If the server is full, the client with the
// most connections gives one up that is idle or slow. A client over its share gives up one of its own. To a client
// with fewer connections, the one with the most also gives up a connection that is idle for a moment only: new
// connections would else keep all others out for as long as EvictAfter.
func (g *gate) admit(nc net.Conn) (*conn, *smtp.SMTPError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	cl := g.clients.get(nc.RemoteAddr())
	switch {
	case g.draining:
		g.o.refuse(refusedStopping)
		return nil, errStopping
	case g.counted >= g.max && !g.takeFromBiggest(cl) && !g.makeRoom(anybody, g.o.window):
		g.o.refuse(refusedConnections)
		return nil, tooManyConnections(g.max)
	case cl.connections >= g.share && !g.makeRoom(g.of(cl.key), g.o.window):
		g.o.refuse(refusedClientConnections)
		return nil, tooManyOfClient(g.share)
	}
	c := newConn(nc, cl, g.o)
	g.open[c] = true
	g.count(cl, 1)
	return c, nil
}

func (g *gate) count(cl *client, n int) {
	g.counted += n
	cl.mu.Lock()
	cl.connections += n
	cl.mu.Unlock()
}

// takeFromBiggest ends a connection of the client with the most connections, for one of cl.
func (g *gate) takeFromBiggest(cl *client) bool {
	key, most := g.biggest()
	window := g.o.window
	if most > cl.connections+1 {
		window = 0
	}
	return g.makeRoom(g.of(key), window)
}

// biggest returns the client with the most connections, and their number.
func (g *gate) biggest() (key netip.Prefix, most int) {
	most = -1
	for k, cl := range g.clients {
		cl.mu.Lock()
		n := cl.connections
		cl.mu.Unlock()
		if n > most {
			most, key = n, k
		}
	}
	return key, most
}

func anybody(*conn) bool { return true }

func (g *gate) of(key netip.Prefix) func(*conn) bool {
	return func(c *conn) bool { return c.client.key == key }
}

// makeRoom ends a connection of those: the one that is idle for the longest time, and at least for window, else the
// slowest transfer.
func (g *gate) makeRoom(those func(*conn) bool, window time.Duration) bool {
	now := time.Now()
	var victim *conn
	var victimSlow bool
	var least float64
	for c, counted := range g.open {
		if !counted || !those(c) {
			continue
		}
		slow, by, ok := c.weight(now, window)
		if !ok || victim != nil && (slow && !victimSlow || slow == victimSlow && by >= least) {
			continue
		}
		victim, victimSlow, least = c, slow, by
	}
	if victim == nil || !victim.evict(errIdle) {
		return false
	}
	g.open[victim] = false
	g.count(victim.client, -1)
	g.evicted()
	return true
}

// leave forgets a closed connection.
func (g *gate) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[c] {
		g.count(c.client, -1)
	}
	delete(g.open, c)
	if c.client.idle(time.Now()) {
		delete(g.clients, c.client.key)
	}
}

// upgrade does the TLS handshake that the client was told to begin. What the client sent before it is dropped.
func (g *gate) upgrade(c *conn) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	t := tls.Server(c.Conn, g.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.cut()
		return
	}
	c.secured(t)
	select {
	case g.secured <- c:
	case <-g.stopped:
		_ = c.cut()
	}
}

// secureListener accepts the connections of a gate whose TLS is established.
type secureListener struct{ *gate }

func (l secureListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.secured:
		return c, nil
	case <-l.stopped:
		return nil, net.ErrClosed
	}
}

// drain closes the connections without a mail transaction at once, and the others
// when their transaction ends.
func (g *gate) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	for c := range g.open {
		c.drain()
	}
}

// cut closes all connections.
func (g *gate) cut() {
	g.mu.Lock()
	open := make([]*conn, 0, len(g.open))
	for c := range g.open {
		open = append(open, c)
	}
	g.mu.Unlock()
	for _, c := range open {
		_ = c.cut()
	}
}
