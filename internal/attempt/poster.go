package attempt

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
)

// Poster makes attempts over connections of its own. Make one with [NewPoster].
type Poster struct {
	transports *transports
	owns       *owns
	brokers    *brokers
	timeout    time.Duration
	late       error // the cause of an attempt's deadline
	userAgent  []string
	allowHTTP  bool
}

// NewPoster makes a poster with transports of its own.
func NewPoster(c Config) *Poster { return newPoster(c, nil) }

// errClosedTwice is the error of a request that was repeated once already.
var errClosedTwice = fmt.Errorf("the connection was closed without an answer, twice: %w", io.ErrUnexpectedEOF)

// newPoster resolves names with the system's resolver where none is given.
func newPoster(c Config, resolver *net.Resolver) *Poster {
	p := &Poster{
		transports: newTransports(&c, resolver), timeout: c.Timeout, late: lateAfter(c.Timeout),
		userAgent: []string{c.UserAgent}, allowHTTP: c.AllowHTTP,
	}
	p.owns = newOwns(p.transports, &c)
	p.brokers = newBrokers(p.owns)
	p.transports.dialer.conns.closeIdle = p.Close
	return p
}

// Post makes one attempt: check the scheme, send the request, read a bounded
// part of the answer, classify it by its status code. A message to a broker is published
// instead, and delivered when JetStream has stored it. ctx may be cancelled with
// [ErrStopped]; a cancellation with another cause counts as a time-out.
func (p *Poster) Post(ctx context.Context, r Request) Result {
	start := time.Now()
	if !encrypted(r.URL) && !p.allowHTTP {
		return Unsent(errPlainHTTP, start)
	}
	timeout, late := p.limit(r.Endpoint)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	if toBroker(r.URL) {
		return p.brokers.publish(ctx, &r, start)
	}
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	x := &exchange{lose: lose}
	if r.LeaseValid != nil {
		deadline := start.Add(timeout) // its timer may fire late in a process that was paused
		x.leaseValid = func() bool { return time.Now().Before(deadline) && r.LeaseValid() }
	}
	ctx = x.trace(ctx)
	// RoundTrip, not Client.Do, which would follow redirects.
	resp, err := p.send(ctx, &r)
	if err != nil {
		return x.unanswered(ctx, err, start)
	}
	defer func() { _ = resp.Body.Close() }()
	resp.Header = trim(resp.Header)
	head, err := readHead(resp)
	result := Classify(resp, time.Now())
	if err != nil && !result.Delivered && ctx.Err() != nil {
		return failed(ctx, err, start)
	}
	result.Response, result.Duration = head, time.Since(start)
	if at := x.connected.Load(); at != nil {
		result.Latency = time.Since(*at)
	}
	return result
}

// Forget closes the idle connections that a webhook has of its own, and forgets its
// token, unless they belong to the endpoint that it has now; nil: it has none. now is
// called only if there is something to forget.
func (p *Poster) Forget(id [16]byte, now func() *Endpoint) {
	p.owns.forget(id, now)
	p.brokers.forget(id, now)
}

// limit is the time limit of a request, and the cause of its deadline.
func (p *Poster) limit(e *Endpoint) (time.Duration, error) {
	if e == nil || e.timeout == 0 {
		return p.timeout, p.late
	}
	return e.timeout, e.late
}

// send sends the request, with what its endpoint adds.
func (p *Poster) send(ctx context.Context, r *Request) (*http.Response, error) {
	e := r.Endpoint
	if e == nil {
		return p.transports.of(r.URL.Host).RoundTrip(p.request(ctx, r))
	}
	e.add(r.Header)
	if !e.own() {
		return p.transports.of(r.URL.Host).RoundTrip(p.request(ctx, r))
	}
	if e.pair != nil {
		if err := endpoint.Expired(e.pair, time.Now()); err != nil {
			return nil, &unmade{reason: ReasonTLS, text: err.Error()}
		}
	}
	o, err := p.owns.of(e)
	if err != nil {
		return nil, err
	}
	if o.tokens == nil {
		return o.roundTripper(r.URL.Host).RoundTrip(p.request(ctx, r))
	}
	return p.sendWithToken(ctx, r, o)
}

// sendWithToken sends the request with a token. If the endpoint refuses the token, it
// sends the request once more with a new one.
func (p *Poster) sendWithToken(ctx context.Context, r *Request, o *own) (*http.Response, error) {
	token, err := o.tokens.get(ctx)
	if err != nil {
		return nil, err
	}
	r.Header["Authorization"] = []string{token}
	resp, err := o.roundTripper(r.URL.Host).RoundTrip(p.request(ctx, r))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !o.tokens.drop(token) {
		return resp, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, drainBytes)
	_ = resp.Body.Close()
	if token, err = o.tokens.get(ctx); err != nil {
		return nil, err
	}
	again := *r
	again.Header = r.Header.Clone() // the transport may still read the first one's
	again.Header["Authorization"] = []string{token}
	return o.roundTripper(r.URL.Host).RoundTrip(p.request(ctx, &again))
}

// Close closes the idle connections. The poster can still be used.
func (p *Poster) Close() {
	p.transports.closeIdle()
	p.owns.closeIdle()
	p.brokers.closeIdle()
}

func (p *Poster) request(ctx context.Context, r *Request) *http.Request {
	Complete(r.Header, p.userAgent)
	// The key marks the request as idempotent and, without a value, is not sent. So
	// net/http sends the request again if the server closes a kept-alive connection
	// just then. Receivers know a repetition by its ids. They get one at most: a
	// server that reads requests and resets would get one for each idle connection.
	r.Header["X-Idempotency-Key"] = nil
	repeated := false
	req := &http.Request{
		Method: http.MethodPost, URL: r.URL, Host: r.URL.Host, Header: r.Header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: r.Body(ctx), ContentLength: r.Length,
		GetBody: func() (io.ReadCloser, error) {
			if repeated {
				return nil, errClosedTwice
			}
			repeated = true
			return r.Body(ctx), nil
		},
	}
	return req.WithContext(ctx)
}
