package dispatch

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// AttemptTimeout bounds a whole attempt, from dialling to the end of the
	// answer, unless the webhook has a timeout of its own.
	AttemptTimeout = subscribers.DefaultTimeout
	// oldEnvelopeTimeout bounds the making of an older envelope, which reads the mail.
	oldEnvelopeTimeout = 30 * time.Second
)

// headerTraceparent is [tracecontext.Header] as net/http writes it.
var headerTraceparent = http.CanonicalHeaderKey(tracecontext.Header)

// poster signs and sends deliveries.
type poster struct {
	*attempt.Poster
	leaseValid  func() bool // whether this process still owns the partitions
	oldEnvelope func(context.Context, events.TenantID, []byte) ([]byte, func(), error)
}

// errOldEnvelope is what a tenant reads of an error in making an older envelope.
var errOldEnvelope = errors.New("the mail can't be read for the envelope v0.4 now")

func newPoster(o Options, leaseValid func() bool) *poster {
	return &poster{leaseValid: leaseValid, oldEnvelope: o.OldEnvelope, Poster: attempt.NewPoster(attempt.Config{
		Timeout: AttemptTimeout, UserAgent: webhookrequest.UserAgent,
		AllowHTTP: o.AllowHTTP, AllowNetworks: o.AllowNetworks, AllowPorts: o.AllowPorts, Proxy: o.Proxy, ProxyFilters: o.ProxyFilters,
		IdleConns: o.Slots / 2, Conns: o.conns, HTTP2Conns: o.http2Conns,
	})}
}

// changed closes the connections of a webhook's former settings.
func (p *poster) changed(w *subscribers.Entry) {
	p.Forget(w.ID, func() *attempt.Endpoint {
		if w.Deleted {
			return nil
		}
		e, _ := w.Endpoint() // its attempts fail with the error
		return e
	})
}

// post makes one attempt: it signs the stored bytes, or their older form, and sends them.
func (p *poster) post(ctx context.Context, w *subscribers.Entry, q *delivery) attempt.Result {
	now := time.Now()
	u, err := w.Target()
	if err != nil {
		return attempt.Unsent(err, now)
	}
	signer, err := w.Signer(now)
	if err != nil {
		return attempt.Unsent(err, now)
	}
	endpoint, err := w.Endpoint()
	if err != nil {
		return attempt.Unsent(err, now)
	}
	envelope := q.Envelope
	if p.oldEnvelope != nil && w.OldEnvelope(now) {
		making, cancel := context.WithTimeout(ctx, oldEnvelopeTimeout)
		old, release, err := p.oldEnvelope(making, w.TenantID, envelope)
		cancel()
		if err != nil {
			r := attempt.Unsent(errOldEnvelope, now)
			r.Detail = err.Error()
			return r
		}
		defer release()
		envelope = old
	}
	h := webhookrequest.Headers(q.head, q.ID, q.Attempts+1)
	if q.traceparent != "" {
		if own := tracecontext.Of(ctx); own != "" {
			h[headerTraceparent] = []string{own}
		}
	}
	signer.Sign(h, q.eventID.String(), now, envelope)
	return p.Post(ctx, attempt.Request{
		URL: u, Header: h, Body: attempt.Bytes(envelope), Length: int64(len(envelope)), Endpoint: endpoint,
		LeaseValid: func() bool { return p.leaseValid() && !q.tenure.ended() },
	})
}
