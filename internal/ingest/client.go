package ingest

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of a connection. Another connection starts anew.
const (
	maxErrors   = 20  // replies 5xx
	freeErrors  = 10  // the replies 5xx after these are delayed
	maxCommands = 100 // commands since the last accepted mail, besides one for each allowed recipient

	// maxTemporary bounds the replies 4xx since the last accepted mail. A mail may come with many more recipients
	// than one transaction takes.
	maxTemporary = 1000
)

// Limits of a client, over all its connections. If it exceeds one, its replies are delayed. It is not refused:
// many senders may share an address.
var (
	errorLimit   = rate{burst: 200, perSecond: 10}
	commandLimit = rate{burst: 10_000, perSecond: 200}
)

// maxClients bounds the clients without a connection that are remembered.
const maxClients = 10_000

// client holds what is known of one remote host: an IPv4 address or an IPv6 network of 64 bits.
type client struct {
	key netip.Prefix

	mu               sync.Mutex
	connections      int
	errors, commands debt
}

// rate allows burst at once, and perSecond in the long run.
type rate struct{ burst, perSecond float64 }

// debt counts towards a rate, and falls with time.
type debt struct {
	amount float64
	at     time.Time
}

func (d *debt) add(n float64, limit rate, now time.Time) (over bool) {
	d.amount = max(0, d.amount-now.Sub(d.at).Seconds()*limit.perSecond) + n
	d.at = now
	d.amount = min(max(0, d.amount), 2*limit.burst)
	return d.amount > limit.burst
}

// failed counts a reply 5xx; true if the client has had too many.
func (c *client) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errors.add(1, errorLimit, time.Now())
}

// commanded counts n commands that have led to no mail yet; true if there are too many. After a mail, n is
// negative: the commands that led to it do not count.
func (c *client) commanded(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commands.add(float64(n), commandLimit, time.Now())
}

// idle reports whether nothing needs to be remembered of the client.
func (c *client) idle(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errors.add(0, errorLimit, now)
	c.commands.add(0, commandLimit, now)
	return c.connections == 0 && c.errors.amount == 0 && c.commands.amount == 0
}

// clientKey returns the network that shares the limits of a client. An address that is no IP address has the
// zero value.
func clientKey(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // the zero value for no address
	return p
}

// clients are all clients with a connection, and those with a debt. The caller of the methods locks.
type clients map[netip.Prefix]*client

// get returns the client of an address.
func (cs clients) get(addr net.Addr) *client {
	key := clientKey(addr)
	c := cs[key]
	if c == nil {
		if len(cs) >= maxClients {
			cs.forget()
		}
		c = &client{key: key}
		cs[key] = c
	}
	return c
}

// forget drops the clients of whom nothing needs to be remembered. If those are few, it drops all that have no
// connection: a debt is worth less than memory.
func (cs clients) forget() {
	now := time.Now()
	for key, c := range cs {
		if c.idle(now) {
			delete(cs, key)
		}
	}
	if len(cs) < maxClients/2 {
		return
	}
	for key, c := range cs {
		c.mu.Lock()
		unconnected := c.connections == 0
		c.mu.Unlock()
		if unconnected {
			delete(cs, key)
		}
	}
}
