package fanmail

import (
	"context"

	"github.com/fanmail-dev/fanmail/subscribers"
)

type (
	// PollRequest says what [Client.Poll] takes.
	PollRequest = subscribers.PollRequest
	// Polled is a delivery that a consumer holds a lease of.
	Polled = subscribers.Polled
	// AckRequest says what a consumer did with polled deliveries.
	AckRequest = subscribers.AckRequest
	// AckFailure is a delivery that its consumer could not handle.
	AckFailure = subscribers.AckFailure
	// AckResult counts what [Client.Ack] did.
	AckResult = subscribers.AckResult
)

// Poll leases due deliveries of a webhook of [KindPull] to the caller, in the order of
// their events, and waits for up to r.Wait if none is due. Two calls never hold the same
// delivery. Call [Client.Ack] before the lease runs out; otherwise the delivery is due
// again. It returns no delivery if nothing comes, [ErrNotFound], [ErrPush], [ErrDisabled],
// or a [*FieldError].
func (c *Client) Poll(ctx context.Context, tenant TenantID, webhook WebhookID, r PollRequest) ([]Polled, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	return c.store.Poll(ctx, c.nc, tenant, webhook, r)
}

// Ack records what a consumer did with deliveries that it polled, all of the request or
// nothing. A delivery that is final, or that another poll has leased since and that was not
// handled, stays as it is, so that a call may be repeated. It returns [ErrNotFound] if one of the deliveries is not the webhook's, [ErrPush], or a
// [*FieldError].
func (c *Client) Ack(ctx context.Context, tenant TenantID, webhook WebhookID, r AckRequest) (AckResult, error) {
	if err := c.ready(); err != nil {
		return AckResult{}, err
	}
	done, err := c.store.Ack(ctx, tenant, webhook, r)
	if done.Due {
		subscribers.WakePolls(c.nc, webhook)
	}
	return done, err
}
