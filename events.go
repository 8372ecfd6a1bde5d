package fanmail

import (
	"context"
	"encoding/json"
	"time"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxEventDeliveries bounds the deliveries that GetEvent returns.
const maxEventDeliveries = 1000

// EventFilter narrows a list of events; a zero field does not.
type EventFilter struct {
	Type    EventType
	AgentID string
	Since   time.Time
	Until   time.Time // exclusive
	// MessageID is the event's, MessageIDHeader the Message-ID of its mail, with or without angle brackets.
	MessageID, MessageIDHeader string
	// From and To are an address, or a part of an address or a name; a part that begins with "@" is a domain. Subject is
	// a part of the subject. Letters of either case are the same.
	From, To, Subject string
}

// ListEvents returns up to limit events of the log after a cursor, newest first,
// and the cursor of the next page. As with [Client.ListDeliveries], only a zero
// cursor is the end.
func (c *Client) ListEvents(ctx context.Context, tenant TenantID, f EventFilter, after Cursor, limit int) ([]EventRecord, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	found, end, err := outbox.ListLog(ctx, c.db, tenant, outbox.LogFilter{
		Type: f.Type, AgentID: mailbox.Fold(f.AgentID), Since: f.Since, Until: f.Until,
		MessageID: f.MessageID, MessageIDHeader: f.MessageIDHeader, From: f.From, To: f.To, Subject: f.Subject,
	}, after, limit+1)
	if err != nil {
		return nil, Cursor{}, err
	}
	if len(found) <= limit {
		return found, end, nil
	}
	found, next := cut(found, limit, func(r EventRecord) Cursor { return Cursor{CreatedAt: r.CreatedAt, ID: r.ID} })
	return found, next, nil
}

// GetEvent returns one event, its envelope byte for byte, and its newest
// deliveries, up to 1,000. It returns [ErrNotFound].
func (c *Client) GetEvent(ctx context.Context, tenant TenantID, id EventID) (EventRecord, json.RawMessage, []Delivery, error) {
	if err := c.ready(); err != nil {
		return EventRecord{}, nil, nil, err
	}
	rec, envelope, err := outbox.Find(ctx, c.db, tenant, id)
	if err != nil {
		return EventRecord{}, nil, nil, notFound(err)
	}
	deliveries, err := c.store.EventDeliveries(ctx, tenant, id, rec.CreatedAt, maxEventDeliveries)
	return rec, envelope, deliveries, err
}

// EventMatch says whether an event was fanned out to a webhook, and why not.
type EventMatch = subscribers.Match

// EventMatches returns for up to limit webhooks of the tenant after a cursor whether an event was fanned out to them,
// newest webhook first, and the cursor of the next page. The first page also has webhooks that were deleted after the
// event, up to 100. It returns [ErrNotFound].
func (c *Client) EventMatches(ctx context.Context, tenant TenantID, id EventID, after Cursor, limit int) ([]EventMatch, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	rec, envelope, err := outbox.Find(ctx, c.db, tenant, id)
	if err != nil {
		return nil, Cursor{}, notFound(err)
	}
	queued, err := outbox.InOutbox(ctx, c.db, &rec)
	if err != nil {
		return nil, Cursor{}, err
	}
	sent, err := c.store.EventDeliveries(ctx, tenant, id, rec.CreatedAt, maxEventDeliveries)
	if err != nil {
		return nil, Cursor{}, err
	}
	return c.store.Matches(ctx, &rec, envelope, queued != nil, subscribers.OfTest(sent), after, limit)
}

// RedeliverEvent sends an event again: to one webhook, or, where webhook is zero, to
// every webhook that it went to before and that still exists. It returns the new
// deliveries, or [ErrNotFound]. A delivery to a disabled webhook waits until the webhook
// is enabled.
func (c *Client) RedeliverEvent(ctx context.Context, tenant TenantID, id EventID, webhook WebhookID) ([]Delivery, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return nil, err
	}
	_, rows, err := c.store.Redeliver(ctx, tenant, id, webhook)
	for _, d := range rows {
		subscribers.WakeDue(c.nc, d.WebhookID)
	}
	return rows, err
}
