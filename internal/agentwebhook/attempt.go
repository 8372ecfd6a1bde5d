package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// AttemptTimeout bounds a whole attempt, from dialling to the answer's end.
const AttemptTimeout = 30 * time.Second

// HeaderAttempt is the number of the attempt, from 1.
const HeaderAttempt = "Fanmail-Attempt"

var (
	errAttemptTimeout = errors.New("no complete answer within 30 s")
	errStopped        = errors.New("stopped before the answer came")
	errLeft           = errors.New("the caller left before the answer came")
)

// poster makes attempts.
type poster struct {
	transport *http.Transport
	allowHTTP bool
	// deprecation and sunset are the values of those headers; "" for none.
	deprecation, sunset string
}

// post makes one attempt, in these steps: check the URL, send the payload with
// the verdicts as headers, read a little of the answer, judge it by its status.
func (p *poster) post(ctx context.Context, c *claimed, pay *Payload, b *body) Outcome {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, AttemptTimeout, errAttemptTimeout)
	defer cancel()
	req, err := p.request(ctx, c, pay, b)
	if err != nil {
		return Outcome{Reason: attempt.ReasonRequest, Error: attempt.OneLine(err), Duration: time.Since(start)}
	}
	// RoundTrip, not Client.Do: redirects are answers, not instructions.
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return failure(ctx, err, start)
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = attempt.Head(resp.Body)
	v := attempt.Classify(resp, time.Now())
	if err != nil && !v.Delivered && ctx.Err() != nil {
		return failure(ctx, err, start)
	}
	return Outcome{
		Delivered: v.Delivered, StatusCode: resp.StatusCode, Error: v.Error, Reason: v.Reason,
		RetryAfter: v.RetryAfter, Duration: time.Since(start),
	}
}

func (p *poster) request(ctx context.Context, c *claimed, pay *Payload, b *body) (*http.Request, error) {
	u, err := url.Parse(*c.url)
	if err != nil {
		return nil, errors.New("the agent's webhook URL can't be read")
	}
	if u.Scheme != "https" && !p.allowHTTP {
		return nil, errors.New("the agent's webhook URL is not https, and plain http is off (FANMAIL_ALLOW_HTTP)")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Fanmail/1 (agents)")
	req.Header.Set(HeaderAttempt, strconv.Itoa(c.attempts+1))
	for name, value := range pay.AuthHeaders {
		req.Header.Set(name, value)
	}
	if p.deprecation != "" {
		req.Header.Set("Deprecation", p.deprecation)
	}
	if p.sunset != "" {
		req.Header.Set("Sunset", p.sunset)
	}
	req.Body, req.ContentLength = b.reader(ctx), b.length()
	// Lets the transport send again on a connection that the endpoint had
	// closed before it took a byte.
	req.GetBody = func() (io.ReadCloser, error) { return b.reader(ctx), nil }
	return req, nil
}

// failure names what kept an answer from coming.
func failure(ctx context.Context, err error, start time.Time) Outcome {
	o := Outcome{Duration: time.Since(start)}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errStopped):
		o.Reason, o.Error = attempt.ReasonStopped, errStopped.Error()
	case errors.Is(cause, errAttemptTimeout):
		o.Reason, o.Error = attempt.ReasonTimeout, errAttemptTimeout.Error()
	case cause != nil:
		o.Reason, o.Error = attempt.ReasonTimeout, errLeft.Error()
	default:
		o.Reason, o.Error = attempt.Failure(err)
	}
	return o
}
