package fanmail

import (
	"context"
	"encoding/json"

	"github.com/fanmail-dev/fanmail/subscribers"
)

// ListDeliveries returns up to limit deliveries of a webhook after a cursor, newest
// first, and the cursor of the next page. One call reads a bounded part of the
// history: with a filter, a page may have fewer rows than limit, or none, before
// the list's end. Only a zero cursor is the end.
func (c *Client) ListDeliveries(ctx context.Context, tenant TenantID, webhook WebhookID, f DeliveryFilter, after Cursor, limit int) ([]Delivery, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	found, end, err := c.store.ListDeliveries(ctx, tenant, webhook, f, after, limit+1)
	if err != nil {
		return nil, Cursor{}, err
	}
	if len(found) <= limit {
		return found, end, nil
	}
	found, next := cut(found, limit, func(d Delivery) Cursor { return Cursor{CreatedAt: d.CreatedAt, ID: d.ID} })
	return found, next, nil
}

// ListAllDeliveries returns up to limit deliveries of all webhooks of a tenant after a cursor, newest first, and the
// cursor of the next page. It has those of up to 500 webhooks, and of the 500 that were deleted last. As with
// [Client.ListDeliveries], only a zero cursor is the end.
func (c *Client) ListAllDeliveries(ctx context.Context, tenant TenantID, f DeliveryFilter, after Cursor, limit int) ([]Delivery, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	found, end, err := c.store.ListAllDeliveries(ctx, tenant, f, after, limit+1)
	if err != nil {
		return nil, Cursor{}, err
	}
	if len(found) <= limit {
		return found, end, nil
	}
	found, next := cut(found, limit, func(d Delivery) Cursor { return Cursor{CreatedAt: d.CreatedAt, ID: d.ID} })
	return found, next, nil
}

// GetDelivery returns one delivery, its newest 100 logged attempts in order, and the envelope
// that was POSTed, nil where the event is no longer kept. It returns [ErrNotFound].
// A delivery that succeeded at once has no logged attempt.
func (c *Client) GetDelivery(ctx context.Context, tenant TenantID, id DeliveryID) (Delivery, []Attempt, json.RawMessage, error) {
	if err := c.ready(); err != nil {
		return Delivery{}, nil, nil, err
	}
	return c.store.GetDelivery(ctx, tenant, id)
}

// RetryDelivery makes a failed or waiting delivery due now, with all its attempts
// to go. It returns [ErrNotFound], [ErrDelivered], [ErrDeleted], [ErrExpired],
// [ErrInFlight] or [ErrAttempts].
func (c *Client) RetryDelivery(ctx context.Context, tenant TenantID, id DeliveryID) (Delivery, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Delivery{}, err
	}
	d, err := c.store.Retry(ctx, tenant, id)
	if err == nil {
		subscribers.WakeDue(c.nc, d.WebhookID)
	}
	return d, err
}

// RetryWebhookDeliveries makes failed deliveries of a webhook due again, up to
// 1,000 in a call, and returns how many and the cursor to go on from; a zero cursor
// is the end.
func (c *Client) RetryWebhookDeliveries(ctx context.Context, tenant TenantID, webhook WebhookID, f DeliveryFilter, after Cursor) (int, Cursor, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return 0, Cursor{}, err
	}
	n, next, err := c.store.RetryFailed(ctx, tenant, webhook, f, after)
	if err == nil && n > 0 {
		subscribers.WakeDue(c.nc, webhook)
	}
	return n, next, err
}
