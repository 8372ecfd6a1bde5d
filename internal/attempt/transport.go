package attempt

import (
	"cmp"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// connectionAge bounds how long a connection takes new requests. A busy one would
	// otherwise never notice that its name has another address.
	connectionAge = 3 * time.Minute
	// streamBytes is how much of an answer's body a server may send over HTTP/2 before it
	// is read.
	streamBytes = 64 << 10
	// shards spread the hosts, so that their connections are not all replaced at once.
	shards = 16
)

// newTransport makes the client side of attempts over HTTP/1 and HTTP/2. It follows no
// redirect and uses no proxy of the environment.
func newTransport(d *dialer, idle int) *http.Transport {
	return &http.Transport{
		DialContext:            d.plain,
		DialTLSContext:         d.secure,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle, // all attempts of one webhook keep their connections
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: headerBytes,
		// Of a body some KiB are read; the rest waits at the server.
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: streamBytes},
	}
}

// transports are the transports of a poster, each for a part of the hosts. A transport
// is replaced when it reaches the age; its connections then take no new request.
type transports struct {
	dialer *dialer
	age    time.Duration
	idle   int // connections of a shard
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	current *http.Transport
	born    time.Time
}

func newTransports(c *Config, resolver *net.Resolver) *transports {
	t := &transports{dialer: newDialer(c, resolver), age: connectionAge, idle: cmp.Or(c.IdleConns, 8192/shards), seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].current = newTransport(t.dialer, t.idle)
		t.shards[i].born = time.Now().Add(-time.Duration(rand.Int64N(int64(t.age)))) // replaced one after the other
	}
	return t
}

// of is the transport for a host.
func (t *transports) of(host string) *http.Transport {
	s := &t.shards[maphash.String(t.seed, host)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.born) >= t.age {
		// A busy connection is closed when its request ends: CloseIdleConnections holds
		// until the transport gets another request.
		go s.current.CloseIdleConnections()
		s.current, s.born = newTransport(t.dialer, t.idle), time.Now()
	}
	return s.current
}

func (t *transports) closeIdle() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.current.CloseIdleConnections()
		s.mu.Unlock()
	}
}
