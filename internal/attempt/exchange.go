package attempt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// alertTimeout bounds how long the reading of an alert takes from a connection that has
// ended already.
const alertTimeout = time.Second

// exchange watches one request on its way, over each connection that it gets.
type exchange struct {
	leaseValid func() bool // nil: always
	lose       context.CancelCauseFunc

	conn        atomic.Pointer[net.Conn]  // the last one
	connected   atomic.Pointer[time.Time] // when it got that one
	handshaking atomic.Bool               // a TLS handshake has begun and not ended
}

// trace returns the context for the request.
//
// It asks leaseValid again when the transport has a connection and the header is in
// its write buffer, of which nothing is sent yet. So a process that was paused while
// it dialled sends nothing after it wakes up. Over HTTP/2 the header is already sent;
// the stream is then cut before the body.
func (x *exchange) trace(ctx context.Context) context.Context {
	t := &httptrace.ClientTrace{
		TLSHandshakeStart: func() { x.handshaking.Store(true) },
		TLSHandshakeDone:  func(tls.ConnectionState, error) { x.handshaking.Store(false) },
		GotConn: func(i httptrace.GotConnInfo) {
			if c, ok := i.Conn.(*statusConn); ok {
				c.begin()
			}
			now := time.Now()
			x.conn.Store(&i.Conn)
			x.connected.Store(&now)
		},
	}
	if x.leaseValid != nil {
		t.WroteHeaders = func() {
			if x.leaseValid() {
				return
			}
			x.lose(ErrLeaseLost)
			c := *x.conn.Load()
			if t, ok := c.(*tls.Conn); !ok || t.ConnectionState().NegotiatedProtocol != "h2" {
				_ = c.Close()
			}
		}
	}
	return httptrace.WithClientTrace(ctx, t)
}

// unanswered is the result of a request without an answer that net/http accepts. A
// complete status line is an answer all the same, whatever is wrong with the headers.
func (x *exchange) unanswered(ctx context.Context, err error, start time.Time) Result {
	var none *unmade
	if errors.As(err, &none) {
		return Result{Reason: none.reason, Error: none.text, Detail: none.detail, Duration: time.Since(start)}
	}
	if code := x.status(); code >= 200 && code < 300 || code > 0 && ctx.Err() == nil {
		result := Classify(&http.Response{StatusCode: code}, time.Now())
		result.Duration = time.Since(start)
		return result
	}
	if ctx.Err() == nil {
		if refused := x.alert(err); refused != nil {
			err = refused
		}
	}
	var late *timeoutError
	if x.conn.Load() == nil && x.handshaking.Load() && errors.As(context.Cause(ctx), &late) {
		return Result{Reason: ReasonTLS, Error: textTLS + ": " + late.Error(), Detail: oneLine(err), Duration: time.Since(start)}
	}
	return failed(ctx, err, start)
}

// alert is the TLS alert that has ended the last connection, or nil. TLS 1.3 refuses a
// client after the handshake, when the request is on its way: what net/http reports
// first may be that it could not be written.
func (x *exchange) alert(err error) error {
	if !ended(err) {
		return nil
	}
	secured := x.secured(err)
	if secured == nil {
		return nil
	}
	// The connection is of no use any more: this read returns why, or what is left.
	_ = secured.SetReadDeadline(time.Now().Add(alertTimeout))
	if _, err := secured.Read(make([]byte, 1)); err != nil && isAlert(err) {
		return err
	}
	return nil
}

// secured is the TLS connection of the request, nil if there was none. One that broke
// before net/http had it for the request is known by the error.
func (x *exchange) secured(err error) *tls.Conn {
	var broken *writeError
	if errors.As(err, &broken) {
		return broken.conn.secured
	}
	conn := x.conn.Load()
	if conn == nil {
		return nil
	}
	if c, ok := (*conn).(*statusConn); ok {
		secured, _ := c.Conn.(*tls.Conn)
		return secured
	}
	secured, _ := (*conn).(*tls.Conn)
	return secured
}

// status is the code of the status line that the last connection has read, or 0.
func (x *exchange) status() int {
	if conn := x.conn.Load(); conn != nil {
		if c, ok := (*conn).(*statusConn); ok {
			return c.status()
		}
	}
	return 0
}
