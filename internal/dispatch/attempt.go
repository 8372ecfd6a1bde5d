package dispatch

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// AttemptTimeout bounds a whole attempt, from dialling to the end of the
	// answer.
	AttemptTimeout = 15 * time.Second
	// HeaderDelivery is the header with the delivery's id.
	HeaderDelivery = "Fanmail-Delivery-Id"
)

// poster signs and sends deliveries.
type poster struct {
	*attempt.Poster
	leaseValid func() bool // whether this process still owns the partitions
}

func newPoster(o Options, leaseValid func() bool) *poster {
	return &poster{leaseValid: leaseValid, Poster: attempt.NewPoster(attempt.Config{
		Timeout: AttemptTimeout, UserAgent: "Fanmail/1 (webhooks)",
		AllowHTTP: o.AllowHTTP, AllowNetworks: o.AllowNetworks, Proxy: o.Proxy,
	})}
}

// post makes one attempt of d: it signs the stored bytes and sends them.
func (p *poster) post(ctx context.Context, e *subscribers.Entry, d *delivery) attempt.Result {
	now := time.Now()
	u, err := e.Target()
	if err != nil {
		return attempt.Unsent(err, now)
	}
	signer, err := e.Signer(now)
	if err != nil {
		return attempt.Unsent(err, now)
	}
	h := make(http.Header, 8)
	values := [2]string{d.ID.String(), strconv.Itoa(d.Attempts + 1)}
	h[HeaderDelivery] = values[0:1:1]
	h[attempt.HeaderAttempt] = values[1:2:2]
	if d.Traceparent != "" {
		propagate(ctx, h)
	}
	signer.Sign(h, d.EventID.String(), now, d.Envelope)
	return p.Post(ctx, attempt.Request{
		URL: u, Header: h, Body: attempt.Bytes(d.Envelope), Length: int64(len(d.Envelope)), LeaseValid: p.leaseValid,
	})
}
