package dispatch

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Headers of a POST beside the signatures.
const (
	HeaderDelivery = "Fanmail-Delivery-Id"
	HeaderAttempt  = "Fanmail-Attempt"
)

const (
	// AttemptTimeout bounds a whole attempt, from dialling to the answer's end.
	AttemptTimeout = 15 * time.Second
)

// result is how an attempt ended.
type result struct {
	delivered  bool
	status     int
	reason     string
	err        string
	response   string
	retryAfter time.Duration
	duration   time.Duration
}

// overload says that the endpoint can't keep up, rather than that it dislikes
// the event.
func (r *result) overload() bool {
	switch r.reason {
	case attempt.ReasonTimeout, attempt.ReasonRefused, attempt.ReasonConnection, attempt.ReasonLimited, attempt.ReasonServer:
		return true
	}
	return false
}

var (
	errAttemptTimeout = errors.New("no complete answer within 15 s")
	errStopped        = errors.New("the dispatcher stopped before the answer came")
	errLost           = errors.New("the lease of the partition ran out before the request was sent")
)

// The values of headers that are the same in every request, which nobody
// changes.
var (
	contentType = []string{"application/json"}
	userAgent   = []string{"Fanmail/1 (webhooks)"}
)

// poster makes attempts.
type poster struct {
	transport *http.Transport
	allowHTTP bool
	may       func() bool // whether the partitions are still this process's
}

// post makes one attempt of d, in these steps: check the scheme, sign, send
// the exact bytes, read a little of the answer, judge it by its status.
func (p *poster) post(ctx context.Context, e *subscribers.Entry, d *delivery) result {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, AttemptTimeout, errAttemptTimeout)
	defer cancel()
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	req, err := p.request(p.fence(ctx, lose), e, d, start)
	if err != nil {
		return result{reason: attempt.ReasonRequest, err: attempt.OneLine(err), duration: time.Since(start)}
	}
	// RoundTrip, not Client.Do: redirects are answers, not instructions.
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return failure(ctx, err, start)
	}
	defer func() { _ = resp.Body.Close() }()
	head, err := attempt.Head(resp.Body)
	v := attempt.Classify(resp, time.Now())
	r := result{
		delivered: v.Delivered, status: resp.StatusCode, reason: v.Reason, err: v.Error, response: head,
		retryAfter: v.RetryAfter, duration: time.Since(start),
	}
	if err != nil && !r.delivered && ctx.Err() != nil {
		return failure(ctx, err, start)
	}
	return r
}

func (p *poster) request(ctx context.Context, e *subscribers.Entry, d *delivery, now time.Time) (*http.Request, error) {
	u, err := e.Target()
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" && !p.allowHTTP {
		return nil, errors.New("the webhook's URL is not https, and plain http is off (FANMAIL_ALLOW_HTTP)")
	}
	signer, err := e.Signer(now)
	if err != nil {
		return nil, err
	}
	h := make(http.Header, 8)
	values := [2]string{d.ID.String(), strconv.Itoa(d.Attempts + 1)}
	h["Content-Type"] = contentType
	h["User-Agent"] = userAgent
	h[HeaderDelivery] = values[0:1:1]
	h[HeaderAttempt] = values[1:2:2]
	if d.Traceparent != "" {
		propagate(ctx, h)
	}
	signer.Sign(h, d.EventID.String(), now, d.Envelope)
	// Of a type that the transport knows, or it would send the header apart.
	body := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(d.Envelope)) }
	req := &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: body(), ContentLength: int64(len(d.Envelope)),
		// Lets the transport send again on a connection that the endpoint had
		// closed before it took a byte.
		GetBody: func() (io.ReadCloser, error) { return body(), nil },
	}
	return req.WithContext(ctx), nil
}

// fence asks once more whether the request may go out, when the transport has
// the connection and the header stands in its buffer, of which nothing is sent
// yet. So a process that was paused while it dialled sends nothing when it
// wakes up. Over HTTP/2 the header is out by then, and the stream is cut before
// its body.
func (p *poster) fence(ctx context.Context, lose context.CancelCauseFunc) context.Context {
	var conn atomic.Pointer[net.Conn]
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { conn.Store(&i.Conn) },
		WroteHeaders: func() {
			if p.may() {
				return
			}
			lose(errLost)
			c := *conn.Load()
			if t, ok := c.(*tls.Conn); !ok || t.ConnectionState().NegotiatedProtocol != "h2" {
				_ = c.Close()
			}
		},
	})
}

// failure names what kept an answer from coming.
func failure(ctx context.Context, err error, start time.Time) result {
	r := result{duration: time.Since(start)}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errStopped), errors.Is(cause, errLost):
		r.reason, r.err = attempt.ReasonStopped, cause.Error()
	case errors.Is(cause, errAttemptTimeout):
		r.reason, r.err = attempt.ReasonTimeout, errAttemptTimeout.Error()
	default:
		r.reason, r.err = attempt.Failure(err)
	}
	return r
}
