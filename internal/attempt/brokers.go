package attempt

import (
	"net/url"
	"sync"
	"time"
)

const (
	// maxBrokers bounds the connections to brokers. Of more, the one that was not used for the longest gives way.
	maxBrokers = 256
	// brokerIdle is how long a connection without an attempt is kept.
	brokerIdle = 90 * time.Second
)

// brokers are the connections to brokers. Webhooks of a tenant with the same URL, credentials and CA share one: brokers
// count connections, and accounts may have few.
type brokers struct {
	owns *owns
	idle time.Duration

	mu      sync.Mutex
	byPlace map[place]*broker
	byHook  map[[16]byte]*broker
}

func newBrokers(o *owns) *brokers {
	return &brokers{owns: o, idle: brokerIdle, byPlace: make(map[place]*broker), byHook: make(map[[16]byte]*broker)}
}

// take returns the connection for one attempt of an endpoint's webhook, and whether it was there before. It may still be
// connecting.
func (k *brokers) take(u *url.URL, e *Endpoint) (b *broker, kept bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := place{u.String(), e.key}
	if was := k.byHook[e.id]; was != nil && was.at != at {
		k.leave(was, e.id)
	}
	b = k.byPlace[at]
	if b != nil && b.ended() {
		k.drop(b)
		b = nil
	}
	if kept = b != nil; !kept {
		config, err := k.owns.trust(e)
		if err != nil {
			return nil, false, err
		}
		config.NextProtos = nil
		if len(k.byPlace) >= maxBrokers {
			k.evict()
		}
		b = &broker{at: at, ready: make(chan struct{}), lost: make(chan struct{}), hooks: make(map[[16]byte]bool)}
		k.byPlace[at] = b
		go b.connect(u, e, k.owns.shared.dialer.trusting(config), func() { k.retire(b) })
	}
	b.hooks[e.id], k.byHook[e.id] = true, b
	b.attempts++
	return b, kept, nil
}

// release ends an attempt.
func (k *brokers) release(b *broker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b.attempts--
	b.used = time.Now()
	switch {
	case b.attempts > 0:
	case b.dropped:
		go b.close()
	case b.ended():
		k.drop(b)
	case b.resting == nil:
		b.resting = time.AfterFunc(k.idle, func() { k.rest(b) })
	default:
		b.resting.Reset(k.idle)
	}
}

// rest closes a connection that no attempt has used for a while.
func (k *brokers) rest(b *broker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.attempts == 0 && !b.dropped && time.Since(b.used) >= k.idle {
		k.drop(b)
	}
}

// retire drops a connection whose broker is about to end it: the next attempt connects to another server, where there is one.
func (k *brokers) retire(b *broker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(b)
}

// leave drops a connection that no other webhook uses.
func (k *brokers) leave(b *broker, id [16]byte) {
	delete(b.hooks, id)
	delete(k.byHook, id)
	if len(b.hooks) == 0 {
		k.drop(b)
	}
}

// drop forgets a connection, and closes it once its attempts have ended.
func (k *brokers) drop(b *broker) {
	if b.dropped {
		return
	}
	b.dropped = true
	if b.resting != nil {
		b.resting.Stop()
	}
	if k.byPlace[b.at] == b {
		delete(k.byPlace, b.at)
	}
	for id := range b.hooks {
		if k.byHook[id] == b {
			delete(k.byHook, id)
		}
	}
	if b.attempts == 0 {
		go b.close()
	}
}

// evict drops the connection that was not used for the longest; one without attempts if there is one.
func (k *brokers) evict() {
	var oldest *broker
	for _, b := range k.byPlace {
		if oldest == nil || (b.attempts == 0) != (oldest.attempts == 0) && b.attempts == 0 || (b.attempts == 0) == (oldest.attempts == 0) && b.used.Before(oldest.used) {
			oldest = b
		}
	}
	if oldest != nil {
		k.drop(oldest)
	}
}

// forget ends a webhook's use of its connection, unless it belongs to the endpoint of now.
func (k *brokers) forget(id [16]byte, now func() *Endpoint) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.byHook[id]; b != nil {
		if e := now(); e == nil || b.at.settings != e.key {
			k.leave(b, id)
		}
	}
}

// closeIdle drops the connections without attempts.
func (k *brokers) closeIdle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.byPlace {
		if b.attempts == 0 {
			k.drop(b)
		}
	}
}
