package ingest

import (
	"net/netip"
	"sync"
	"time"
)

// transfers bounds the bytes of unfinished mails in temporary files, for all clients and for each one.
type transfers struct {
	max, share int64
	evicted    func()

	mu      sync.Mutex
	total   int64
	clients map[netip.Prefix]int64
	open    map[*transfer]struct{}
}

// transfer is one mail that is being received.
type transfer struct {
	conn *conn

	// Guarded by transfers.mu.
	bytes   int64 // reserved
	evicted bool
}

// newTransfers limits the bytes of all to limit, and those of one client to half of it, but at least one mail.
func newTransfers(limit, mail int64, evicted func()) *transfers {
	return &transfers{
		max: limit, share: max(limit/2, mail), evicted: evicted,
		clients: make(map[netip.Prefix]int64), open: make(map[*transfer]struct{}),
	}
}

// fit is the result of a reservation.
type fit int

const (
	fits fit = iota
	overTotal
	overShare
)

// reserve sees to it that a transfer has size bytes. If there is no room, it evicts the slowest transfer of the
// client that holds the most, or of the client itself if that is over its share. A transfer that was evicted gets
// no room: it ends at its next read.
func (ts *transfers) reserve(t *transfer, size int64) fit {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	n := size - t.bytes
	if t.evicted || n <= 0 {
		return fits
	}
	key := t.conn.client.key
	for ts.clients[key]+n > ts.share {
		if !ts.makeRoom(t, key) {
			return overShare
		}
	}
	for ts.total+n > ts.max {
		if !ts.makeRoom(t, ts.biggest()) {
			return overTotal
		}
	}
	ts.open[t] = struct{}{}
	ts.count(t, n)
	return fits
}

// release gives the bytes of a transfer back.
func (ts *transfers) release(t *transfer) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.drop(t)
}

func (ts *transfers) drop(t *transfer) {
	ts.count(t, -t.bytes)
	delete(ts.open, t)
}

func (ts *transfers) count(t *transfer, n int64) {
	key := t.conn.client.key
	t.bytes += n
	ts.total += n
	ts.clients[key] += n
	if ts.clients[key] == 0 {
		delete(ts.clients, key)
	}
}

func (ts *transfers) held() int64 {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.total
}

func (ts *transfers) biggest() (key netip.Prefix) {
	var most int64
	for k, n := range ts.clients {
		if n > most {
			most, key = n, k
		}
	}
	return key
}

// makeRoom ends the slowest transfer of a client, other than t.
func (ts *transfers) makeRoom(t *transfer, key netip.Prefix) bool {
	now := time.Now()
	var victim *transfer
	var least float64
	for o := range ts.open {
		if o == t || o.conn.client.key != key {
			continue
		}
		receiving, rate, slow := o.conn.weight(now, o.conn.o.window)
		if receiving && slow && (victim == nil || rate < least || rate == least && o.bytes > victim.bytes) {
			victim, least = o, rate
		}
	}
	if victim == nil || !victim.conn.evict(errSlowest) {
		return false
	}
	ts.drop(victim)
	victim.evicted = true
	ts.evicted()
	return true
}
