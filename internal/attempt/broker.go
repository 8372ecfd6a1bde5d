package attempt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
)

// The error lines of attempts at a broker.
const (
	textConnections = "the broker has as many connections as it, or the account, may have"
	textInbox       = "the broker does not let the user subscribe to _INBOX.>, where the answers to its messages come"
	textSubs        = "the broker has as many subscriptions as it, or the account, may have"
	textNoTLS       = "the broker does not offer TLS, which the scheme tls asks for"
	textNoStream    = "no stream of the broker stores the subject, or JetStream is off for the account"
	textNoJetStream = "what answered on the subject is not JetStream"
	textBroker      = "what the broker sent is not the protocol of NATS, or too large"
)

// publish makes one attempt at a broker. A kept connection that ended meanwhile costs no attempt: the message is published
// once more over a new one, and JetStream knows it by its id.
func (k *brokers) publish(ctx context.Context, r *Request, start time.Time) Result {
	// Written before the first try alone: its client may still read the headers when the second begins.
	Complete(r.Header, k.owns.userAgent)
	AddMessageID(r.Header)
	result, lost := k.once(ctx, r, start)
	if lost {
		result, _ = k.once(ctx, r, start)
	}
	return result
}

// once connects, or takes the webhook's connection, publishes, and waits until JetStream has stored the message. lost says
// that a connection that was there before has ended.
func (k *brokers) once(ctx context.Context, r *Request, start time.Time) (result Result, lost bool) {
	if r.Endpoint == nil || r.Endpoint.subject == "" {
		return Unsent(errors.New("the webhook has no subject"), start), false
	}
	if r.Endpoint.pair != nil {
		if err := endpoint.Expired(r.Endpoint.pair, time.Now()); err != nil {
			return refusedBy(&unmade{reason: ReasonTLS, text: err.Error()}, r.Endpoint, start), false
		}
	}
	b, kept, err := k.take(r.URL, r.Endpoint)
	if err != nil {
		return Unsent(err, start), false
	}
	defer k.release(b)
	select {
	case <-b.ready:
	case <-ctx.Done():
		return failed(ctx, context.Cause(ctx), start), false
	}
	if b.failed != nil {
		return refusedBy(b.failed, r.Endpoint, start), false
	}
	if r.LeaseValid != nil && !r.LeaseValid() {
		return Result{Reason: ReasonStopped, Error: ErrLeaseLost.Error(), Duration: time.Since(start)}, false
	}
	body, err := readAll(ctx, r)
	if err != nil {
		return Unsent(err, start), false
	}
	connected := time.Now()
	ack, err := b.publish(ctx, &nats.Msg{Subject: r.Endpoint.subject, Header: nats.Header(r.Header), Data: body})
	switch {
	case err == nil:
		return Result{Delivered: true, Reason: ReasonOK, Response: stored(ack), Duration: time.Since(start), Latency: time.Since(connected)}, false
	case ctx.Err() != nil:
		return failed(ctx, err, start), false
	}
	return refusedBy(err, r.Endpoint, start), kept && errors.Is(err, net.ErrClosed)
}

// readAll reads the body into memory of its own: the client may still hold it when the attempt has ended.
func readAll(ctx context.Context, r *Request) ([]byte, error) {
	from := r.Body(ctx)
	defer func() { _ = from.Close() }()
	body := make([]byte, r.Length)
	if _, err := io.ReadFull(from, body); err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return body, nil
}

// stored says where a message is, as a tenant reads it.
func stored(ack *jetstream.PubAck) string {
	text := fmt.Sprintf("stored in the stream %s as %d", ack.Stream, ack.Sequence)
	if ack.Duplicate {
		text = fmt.Sprintf("the stream %s has had it already, as %d", ack.Stream, ack.Sequence)
	}
	return oneLine(errors.New(text))
}

// refusedBy is the result of an attempt that the broker, or the connection to it, has failed.
func refusedBy(err error, e *Endpoint, start time.Time) Result {
	r := Result{Duration: time.Since(start)}
	var answer *jetstream.APIError
	var none *unmade
	switch {
	case errors.As(err, &none):
		r.Reason, r.Error = none.reason, none.text
	case errors.As(err, &answer):
		r.StatusCode, r.Reason = answerOf(answer.Code)
		r.Error = oneLine(fmt.Errorf("the broker answered: %s (error %d)", cmp.Or(answer.Description, "no reason"), answer.ErrorCode))
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		r.Reason, r.Error = ReasonServer, textNoStream
	case errors.Is(err, jetstream.ErrInvalidJSAck):
		r.Reason, r.Error = ReasonConnection, textNoJetStream
	case errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `for Subscription to "_INBOX.`):
		r.Reason, r.Error = ReasonClient, textInbox
	case errors.Is(err, nats.ErrPermissionViolation):
		r.Reason, r.Error = ReasonClient, oneLine(fmt.Errorf("the broker answered: %s", strings.TrimPrefix(err.Error(), nats.ErrPermissionViolation.Error()+": ")))
	case unauthorized(err):
		r.Reason, r.Error = ReasonClient, e.refusedText()
	case errors.Is(err, nats.ErrMaxAccountConnectionsExceeded), strings.HasSuffix(said(err), "maximum connections exceeded"):
		r.Reason, r.Error = ReasonLimited, textConnections
	case strings.HasSuffix(said(err), "maximum subscriptions exceeded"):
		r.Reason, r.Error = ReasonLimited, textSubs
	case errors.Is(err, nats.ErrHeadersNotSupported):
		r.Reason, r.Error = ReasonRequest, "the broker takes no headers"
	case errors.Is(err, errNoTLS):
		r.Reason, r.Error = ReasonTLS, textNoTLS
	case errors.Is(err, errBroker):
		r.Reason, r.Error = ReasonConnection, textBroker
	default:
		r.Reason, r.Error = describe(err)
		r.Detail = oneLine(err)
		if text := said(err); text != "" {
			r.Error = oneLine(fmt.Errorf("the connection to the broker failed: %s", text))
		}
	}
	return r
}

// unauthorized reports whether the broker refuses the credentials, or has ended a connection because of them. The client
// has errors of its own for that once it is connected, and the broker's text before.
func unauthorized(err error) bool {
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired) {
		return true
	}
	text := strings.ToLower(said(err))
	return strings.HasPrefix(text, "user authentication ") || strings.HasPrefix(text, "account authentication ")
}

// answerOf is the status code and the reason of an error of JetStream, whose codes are those of HTTP.
func answerOf(code int) (status int, reason string) {
	switch {
	case code == http.StatusTooManyRequests:
		return code, ReasonLimited
	case code >= 400 && code < 500:
		return code, ReasonClient
	case code >= 500 && code < 600:
		return code, ReasonServer
	}
	return 0, ReasonOther
}
