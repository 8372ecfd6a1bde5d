package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// AttemptTimeout is the time limit of a whole attempt, from dialling to the end of the
// answer.
const AttemptTimeout = 30 * time.Second

var errURL = errors.New("the agent's webhook URL does not parse")

// poster POSTs payloads.
type poster struct {
	*attempt.Poster
	// deprecation and sunset are the values of these headers; "": no header.
	deprecation, sunset string
}

func newPoster(o Options) *poster {
	p := &poster{Poster: attempt.NewPoster(attempt.Config{
		Timeout: AttemptTimeout, UserAgent: "Fanmail/1 (agents)",
		AllowHTTP: o.AllowHTTP, AllowNetworks: o.AllowNetworks, AllowPorts: o.AllowPorts, Proxy: o.Proxy, ProxyFilters: o.ProxyFilters,
	})}
	if !o.Deprecated.IsZero() {
		p.deprecation = fmt.Sprintf("@%d", o.Deprecated.Unix())
	}
	if !o.Sunset.IsZero() {
		p.sunset = o.Sunset.UTC().Format(http.TimeFormat)
	}
	return p
}

// header returns the headers of an attempt, which is the n-th.
func (p *poster) header(auth map[string]string, n int) http.Header {
	h := make(http.Header, 8)
	h.Set(attempt.HeaderAttempt, strconv.Itoa(n))
	for name, value := range auth {
		h.Set(name, value)
	}
	if p.deprecation != "" {
		h.Set("Deprecation", p.deprecation)
	}
	if p.sunset != "" {
		h.Set("Sunset", p.sunset)
	}
	return h
}

// post makes one attempt. The payload is the body; its authentication results are also
// headers.
func (p *poster) post(ctx context.Context, c *claimed, pay *Payload, b *body) attempt.Result {
	u, err := url.Parse(*c.url)
	if err != nil {
		return attempt.Unsent(errURL, time.Now())
	}
	return p.Post(ctx, attempt.Request{URL: u, Header: p.header(pay.AuthHeaders, c.attempts+1), Body: b.reader, Length: b.length(), LeaseValid: c.leaseValid})
}
