package attempt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"
)

// HeaderAttempt is the header with the number of the attempt, from 1.
const HeaderAttempt = "Fanmail-Attempt"

var errPlainHTTP = errors.New("the webhook's URL is not https, and plain http is off (FANMAIL_ALLOW_HTTP)")

// contentType is shared by all requests; nobody changes it.
var contentType = []string{"application/json"}

// Config says how a [Poster] sends.
type Config struct {
	// Timeout bounds a whole attempt, from dialling to the end of the answer.
	Timeout time.Duration
	// UserAgent of every request.
	UserAgent string
	// AllowHTTP sends to plain HTTP URLs too.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although they are not
	// public.
	AllowNetworks []netip.Prefix
	// Proxy for all attempts; nil: none. The environment's proxy is not used.
	Proxy *url.URL
}

// Request is one POST of a JSON body.
type Request struct {
	// URL is read, never changed, so callers may share it.
	URL *url.URL
	// Header is complete but for Content-Type and User-Agent, which the poster
	// adds. The poster owns it from then on.
	Header http.Header
	// Body returns a new reader of the whole body. The transport asks for a
	// second one where an idle connection was closed before it took a byte. The
	// context is the attempt's.
	Body func(ctx context.Context) io.ReadCloser
	// Length of the body, in bytes.
	Length int64
	// LeaseValid reports whether the sender still holds the delivery. It is
	// asked right before the header is sent; nil: yes.
	LeaseValid func() bool
}

// Bytes is a request's body that is in memory. The reader has a type that
// net/http knows, or it would send the header in a packet of its own.
func Bytes(body []byte) func(context.Context) io.ReadCloser {
	return func(context.Context) io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
}

// Poster makes attempts over one transport. Make one with [NewPoster].
type Poster struct {
	transport *http.Transport
	timeout   time.Duration
	late      error // the cause of an attempt's deadline
	userAgent []string
	allowHTTP bool
}

// NewPoster makes a poster with a transport of its own; see [NewTransport].
func NewPoster(c Config) *Poster {
	return &Poster{
		transport: NewTransport(c.AllowNetworks, c.Proxy), timeout: c.Timeout,
		late:      &timeoutError{fmt.Sprintf("no complete answer within %g s", c.Timeout.Seconds())},
		userAgent: []string{c.UserAgent}, allowHTTP: c.AllowHTTP,
	}
}

// Post makes one attempt: check the scheme, send the request, read a bounded
// part of the answer, classify it by its status code. ctx may be cancelled with
// [ErrStopped]; a cancellation with another cause counts as a time-out.
func (p *Poster) Post(ctx context.Context, r Request) Result {
	start := time.Now()
	if r.URL.Scheme != "https" && !p.allowHTTP {
		return Unsent(errPlainHTTP, start)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, p.late)
	defer cancel()
	if r.LeaseValid != nil {
		lost, lose := context.WithCancelCause(ctx)
		defer lose(nil)
		deadline := start.Add(p.timeout) // its timer may fire late in a process that was paused
		ctx = fence(lost, lose, func() bool { return time.Now().Before(deadline) && r.LeaseValid() })
	}
	// RoundTrip, not Client.Do, which would follow redirects.
	resp, err := p.transport.RoundTrip(p.request(ctx, &r))
	if err != nil {
		return failed(ctx, err, start)
	}
	defer func() { _ = resp.Body.Close() }()
	head, err := readHead(resp.Body)
	result := Classify(resp, time.Now())
	if err != nil && !result.Delivered && ctx.Err() != nil {
		return failed(ctx, err, start)
	}
	result.Response, result.Duration = head, time.Since(start)
	return result
}

// Close closes the idle connections. The poster can still be used.
func (p *Poster) Close() { p.transport.CloseIdleConnections() }

func (p *Poster) request(ctx context.Context, r *Request) *http.Request {
	r.Header["Content-Type"] = contentType
	r.Header["User-Agent"] = p.userAgent
	req := &http.Request{
		Method: http.MethodPost, URL: r.URL, Host: r.URL.Host, Header: r.Header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: r.Body(ctx), ContentLength: r.Length,
		GetBody: func() (io.ReadCloser, error) { return r.Body(ctx), nil },
	}
	return req.WithContext(ctx)
}

// fence asks leaseValid again when the transport has a connection and the
// header is in its write buffer, of which nothing is sent yet. So a process
// that was paused while it dialled sends nothing after it wakes up. Over HTTP/2
// the header is already sent; the stream is then cut before the body.
func fence(ctx context.Context, lose context.CancelCauseFunc, leaseValid func() bool) context.Context {
	var conn atomic.Pointer[net.Conn]
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { conn.Store(&i.Conn) },
		WroteHeaders: func() {
			if leaseValid() {
				return
			}
			lose(ErrLeaseLost)
			c := *conn.Load()
			if t, ok := c.(*tls.Conn); !ok || t.ConnectionState().NegotiatedProtocol != "h2" {
				_ = c.Close()
			}
		},
	})
}
