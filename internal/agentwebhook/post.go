package agentwebhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// Post POSTs a payload to a URL once, with the headers of a first attempt, and returns the result. It reads and records
// nothing.
func (d *Deliverer) Post(ctx context.Context, to string, p *Payload) attempt.Result {
	body, err := json.Marshal(p)
	if err != nil {
		return attempt.Unsent(fmt.Errorf("encode the payload: %w", err), time.Now())
	}
	u, err := url.Parse(to)
	if err != nil {
		return attempt.Unsent(errURL, time.Now())
	}
	return d.poster.Post(ctx, attempt.Request{
		URL: u, Header: d.poster.header(p.AuthHeaders, 1), Body: attempt.Bytes(body), Length: int64(len(body)), LeaseValid: func() bool { return true },
	})
}
