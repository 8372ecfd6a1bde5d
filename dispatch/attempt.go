package dispatch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

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
	// responseBytes of an answer are kept in the attempts log; drainBytes more
	// are read so that the connection can be used again.
	responseBytes = 1 << 10
	drainBytes    = 8 << 10
)

// Why an attempt failed: a closed set.
const (
	reasonOK         = "ok"
	reasonTimeout    = "timeout"
	reasonDNS        = "dns"
	reasonRefused    = "refused"
	reasonTLS        = "tls"
	reasonConnection = "connection"
	reasonBlocked    = "blocked"
	reasonRequest    = "request"
	reasonRedirect   = "status_3xx"
	reasonClient     = "status_4xx"
	reasonLimited    = "status_429"
	reasonGone       = "gone"
	reasonServer     = "status_5xx"
	reasonOther      = "status_other"
	reasonStopped    = "stopped"
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
	case reasonTimeout, reasonRefused, reasonConnection, reasonLimited, reasonServer:
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
		return result{reason: reasonRequest, err: oneLine(err.Error()), duration: time.Since(start)}
	}
	// RoundTrip, not Client.Do: redirects are answers, not instructions.
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return failure(ctx, err, start)
	}
	defer func() { _ = resp.Body.Close() }()
	head, err := io.ReadAll(io.LimitReader(resp.Body, responseBytes))
	if err == nil && len(head) == responseBytes {
		_, err = io.CopyN(io.Discard, resp.Body, drainBytes)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	r := result{status: resp.StatusCode, response: strings.ToValidUTF8(strings.ReplaceAll(string(head), "\x00", ""), "\uFFFD"), duration: time.Since(start)}
	r.judge(resp)
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

func (r *result) judge(resp *http.Response) {
	code := resp.StatusCode
	switch {
	case code >= 200 && code < 300:
		r.delivered, r.reason = true, reasonOK
		return
	case code >= 300 && code < 400:
		r.reason = reasonRedirect
		r.err = fmt.Sprintf("answered %d; redirects are not followed", code)
		return
	case code == http.StatusGone:
		r.reason = reasonGone
	case code == http.StatusTooManyRequests:
		r.reason = reasonLimited
	case code >= 400 && code < 500:
		r.reason = reasonClient
	case code >= 500 && code < 600:
		r.reason = reasonServer
	default:
		r.reason = reasonOther
	}
	r.err = fmt.Sprintf("answered %d", code)
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		r.retryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
}

// retryAfter reads seconds or an HTTP date; 0 where there is neither.
func retryAfter(v string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && s > 0 {
		return min(time.Duration(min(s, 1<<30))*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// failure names what kept an answer from coming.
func failure(ctx context.Context, err error, start time.Time) result {
	r := result{reason: reasonConnection, err: oneLine(err.Error()), duration: time.Since(start)}
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errStopped), errors.Is(cause, errLost):
		r.reason, r.err = reasonStopped, cause.Error()
	case errors.Is(cause, errAttemptTimeout):
		r.reason, r.err = reasonTimeout, errAttemptTimeout.Error()
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrProhibitedPort):
		r.reason, r.err = reasonBlocked, "the address is not public; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)"
	case errors.As(err, &dns):
		r.reason = reasonDNS
	case errors.As(err, &record), errors.As(err, &cert), errors.As(err, &unknown):
		r.reason = reasonTLS
	case errors.Is(err, syscall.ECONNREFUSED):
		r.reason = reasonRefused
	}
	return r
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "")
	}
	return strings.ReplaceAll(s, "\x00", "")
}
