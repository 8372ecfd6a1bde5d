package fanmail

import (
	"context"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxWindow is the longest window of statistics: deliveries are kept as long.
const maxWindow = subscribers.Retention

// CreateWebhook creates a webhook of the tenant and returns it with its signing
// secret, which cannot be read again. It returns a [*FieldError] for a bad
// setting, a [*LimitError] where the tenant has 50 webhooks, and [ErrNotFound]
// where there is no such tenant.
func (c *Client) CreateWebhook(ctx context.Context, tenant TenantID, w Webhook) (Webhook, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Webhook{}, err
	}
	made, secret, err := c.store.Create(ctx, tenant, subscribers.Webhook{
		Kind: w.Kind, URL: w.URL, Subject: w.Subject, Events: w.Events, Filters: w.Filters, Description: w.Description,
		MaxInFlight: w.MaxInFlight, RateLimit: w.RateLimit, Ordering: w.Ordering, Enabled: !w.Disabled, Paused: w.Paused,
		Timeout: w.Timeout, Retry: w.Retry, Headers: w.Headers, Auth: w.Auth, CA: w.CA, Ed25519: w.Ed25519,
		SigningSecret: w.SigningSecret, Envelope: w.Envelope, EnvelopeUntil: w.EnvelopeUntil,
	})
	if err != nil {
		return Webhook{}, err
	}
	subscribers.WakeRegistry(c.nc)
	out := fromStore(made)
	out.SigningSecret = secret
	return out, nil
}

// GetWebhook returns one webhook, or [ErrNotFound].
func (c *Client) GetWebhook(ctx context.Context, tenant TenantID, id WebhookID) (Webhook, error) {
	if err := c.ready(); err != nil {
		return Webhook{}, err
	}
	w, err := c.store.Get(ctx, tenant, id)
	if err != nil {
		return Webhook{}, err
	}
	return fromStore(w), nil
}

// ListWebhooks returns up to limit webhooks after a cursor, newest first, and the
// cursor of the next page.
func (c *Client) ListWebhooks(ctx context.Context, tenant TenantID, after Cursor, limit int) ([]Webhook, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	found, err := c.store.List(ctx, tenant, after, limit+1)
	if err != nil {
		return nil, Cursor{}, err
	}
	found, next := cut(found, limit, func(w subscribers.Webhook) Cursor { return Cursor{CreatedAt: w.CreatedAt, ID: w.ID} })
	out := make([]Webhook, len(found))
	for i, w := range found {
		out[i] = fromStore(w)
	}
	return out, next, nil
}

// ChangeWebhook changes the fields of a webhook that are not nil, and returns it.
// Enabling a webhook that was disabled automatically less than 5 minutes ago is
// [ErrCooldown].
func (c *Client) ChangeWebhook(ctx context.Context, tenant TenantID, id WebhookID, change WebhookChange) (Webhook, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Webhook{}, err
	}
	w, err := c.store.Update(ctx, tenant, id, change)
	if err != nil {
		return Webhook{}, err
	}
	subscribers.WakeRegistry(c.nc)
	if change.Enabled != nil && *change.Enabled || change.Paused != nil && !*change.Paused {
		subscribers.WakeDue(c.nc, id)
	}
	return fromStore(w), nil
}

// DeleteWebhook deletes a webhook. Its pending deliveries end as failed.
func (c *Client) DeleteWebhook(ctx context.Context, tenant TenantID, id WebhookID) error {
	if err := c.changeable(ctx, tenant); err != nil {
		return err
	}
	err := c.store.Delete(ctx, tenant, id)
	if err == nil {
		subscribers.WakeRegistry(c.nc)
	}
	return err
}

// RotateWebhookSecret gives a webhook a new signing secret and returns it: the one that
// is brought along, or, if that is "", one that Fanmail makes. Until previousUntil the
// previous secret signs too, and each earlier one until its own time. It returns a
// [*RotationLimitError] where 10 previous secrets still sign, and [ErrPull].
func (c *Client) RotateWebhookSecret(ctx context.Context, tenant TenantID, id WebhookID, brought string) (secret string, previousUntil time.Time, err error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return "", time.Time{}, err
	}
	secret, previousUntil, err = c.store.Rotate(ctx, tenant, id, brought)
	if err == nil {
		subscribers.WakeRegistry(c.nc)
	}
	return secret, previousUntil, err
}

// TestEvent is what [Client.TestWebhookWith] sends.
type TestEvent = subscribers.TestEvent

// TestWebhook sends a webhook a test delivery of its first type, past its filters. It
// returns [ErrDisabled] or [ErrPaused] where the webhook is disabled or paused.
func (c *Client) TestWebhook(ctx context.Context, tenant TenantID, id WebhookID) (Delivery, error) {
	return c.TestWebhookWith(ctx, tenant, id, TestEvent{})
}

// TestWebhookWith is [Client.TestWebhook] with an event of a type that the webhook takes:
// the sample of the type, or the given data. It returns a [*FieldError] for another
// type and for invalid data.
func (c *Client) TestWebhookWith(ctx context.Context, tenant TenantID, id WebhookID, test TestEvent) (Delivery, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Delivery{}, err
	}
	d, err := c.store.InsertTest(ctx, tenant, id, test)
	if err == nil {
		subscribers.WakeDue(c.nc, id)
	}
	return d, err
}

// GetStats counts and measures the deliveries of the last window: of the whole
// tenant, and of each webhook, or of one webhook where id is not zero. The window
// is at most 30 days.
func (c *Client) GetStats(ctx context.Context, tenant TenantID, id WebhookID, window time.Duration) (Stats, []Stats, error) {
	if err := c.ready(); err != nil {
		return Stats{}, nil, err
	}
	if window <= 0 || window > maxWindow {
		return Stats{}, nil, &FieldError{Field: "window", Reason: fmt.Sprintf("is %s; it must be positive and at most %s", window, maxWindow)}
	}
	return c.store.Stats(ctx, tenant, id, window)
}
