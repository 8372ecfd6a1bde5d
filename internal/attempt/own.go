package attempt

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
)

// maxOwn bounds the webhooks of which a poster keeps connections or a token. Of more,
// the one that was not used for the longest gives way.
const maxOwn = 1024

// owns are what webhooks have of their own.
type owns struct {
	shared    *transports
	roots     *x509.CertPool // nil: the system's
	userAgent []string       // of requests for tokens
	allowHTTP bool

	mu   sync.Mutex
	byID map[[16]byte]*own
}

func newOwns(shared *transports, c *Config) *owns {
	return &owns{
		shared: shared, roots: c.roots, userAgent: []string{c.UserAgent}, allowHTTP: c.AllowHTTP, byID: make(map[[16]byte]*own),
	}
}

// own is what one webhook has of its own, for as long as its settings stay the same.
type own struct {
	key    [sha256.Size]byte
	shared *transports // where it has no connections of its own
	dialer *dialer     // nil: the shared ones
	tokens *tokens     // nil: none
	used   time.Time

	mu      sync.Mutex
	current *http.Transport
	born    time.Time
}

// of returns what the endpoint's webhook has of its own. It is made anew if the
// settings have changed.
func (o *owns) of(e *Endpoint) (*own, error) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.byID[e.id]
	if was != nil && was.key == e.key {
		was.used = now
		return was, nil
	}
	made := &own{key: e.key, shared: o.shared, used: now, born: now}
	if e.private() {
		config, err := o.trust(e)
		if err != nil {
			return nil, err
		}
		made.dialer = o.shared.dialer.trusting(config)
		made.current = newTransport(made.dialer, o.shared.idle)
	}
	if e.oauth2 != nil {
		made.tokens = newTokens(e.oauth2, &tokenTransport{via: made.roundTripper, userAgent: o.userAgent, allowHTTP: o.allowHTTP})
	}
	if was != nil {
		was.closeIdle()
	} else if len(o.byID) >= maxOwn {
		o.evict()
	}
	o.byID[e.id] = made
	return made, nil
}

// trust is the TLS configuration of an endpoint with a client certificate or a CA.
func (o *owns) trust(e *Endpoint) (*tls.Config, error) {
	config := o.shared.dialer.tls.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(ownSessions)
	if e.pair != nil {
		// The certificate is presented whatever authorities the server names: its alert
		// then says more than a missing certificate would.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return e.pair, nil }
	}
	if e.ca != "" {
		roots, err := endpoint.Roots(o.roots, e.ca)
		if err != nil {
			return nil, &unmade{reason: ReasonRequest, text: fmt.Sprintf("the webhook's ca %s", err)}
		}
		config.RootCAs = roots
	}
	return config, nil
}

// evict removes what was not used for the longest.
func (o *owns) evict() {
	var oldest *own
	var at [16]byte
	for id, candidate := range o.byID {
		if oldest == nil || candidate.used.Before(oldest.used) {
			oldest, at = candidate, id
		}
	}
	if oldest != nil {
		oldest.closeIdle()
		delete(o.byID, at)
	}
}

// forget removes what a webhook has, unless it belongs to the endpoint of now.
func (o *owns) forget(id [16]byte, now func() *Endpoint) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.byID[id]
	if was == nil {
		return
	}
	if e := now(); e == nil || !e.own() || was.key != e.key {
		was.closeIdle()
		delete(o.byID, id)
	}
}

func (o *owns) closeIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.byID {
		w.closeIdle()
	}
}

// roundTripper sends requests to a host.
func (o *own) roundTripper(host string) http.RoundTripper {
	if o.dialer == nil {
		return o.shared.of(host)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.born) >= o.shared.age {
		go o.current.CloseIdleConnections()
		o.current, o.born = newTransport(o.dialer, o.shared.idle), time.Now()
	}
	return o.current
}

func (o *own) closeIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current != nil {
		o.current.CloseIdleConnections()
	}
}
