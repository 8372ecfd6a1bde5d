package fanmail

import (
	"context"
	"time"

	"github.com/fanmail-dev/fanmail/internal/replay"
)

// ReplayMode says which events a replay sends.
type ReplayMode string

// The modes of a replay.
const (
	// ReplayMissed sends what the webhook should have had and has no success for,
	// also events from before it existed and from while it was disabled.
	ReplayMissed ReplayMode = "missed"
	// ReplayAll sends all events again.
	ReplayAll ReplayMode = "all"
)

// ReplayRequest says which past events to send again.
type ReplayRequest struct {
	// Since and Until bound the events' creation times, Until excluded. Since is
	// required. A zero Until, or one in the future, means now.
	Since, Until time.Time
	// WebhookID is the webhook to send to; zero: every enabled one.
	WebhookID WebhookID
	// Types and AgentIDs narrow the events; empty: all. At most 50 agents.
	Types    []EventType
	AgentIDs []string
	// Mode is required.
	Mode ReplayMode
}

func (q *ReplayRequest) request() replay.Request {
	return replay.Request{Since: q.Since, Until: q.Until, WebhookID: q.WebhookID, Types: q.Types, AgentIDs: q.AgentIDs, Mode: replay.Mode(q.Mode)}
}

// Replay is a request and its progress.
type Replay struct {
	ReplayRequest
	ID        ReplayID
	TenantID  TenantID
	CreatedAt time.Time
	// State is "queued", "running", "cancelling", "cancelled" or "completed".
	State string
	// Matched counts the pairs of an event and a webhook that match; Enqueued the
	// deliveries made of them. Each delivery ends in Delivered or in Failed.
	Matched, Enqueued, Delivered, Failed int64
	FinishedAt                           *time.Time // nil while it runs
}

func fromReplay(r replay.Replay) Replay {
	return Replay{
		ReplayRequest: ReplayRequest{
			Since: r.Since, Until: r.Until, WebhookID: r.WebhookID, Types: r.Types, AgentIDs: r.AgentIDs, Mode: ReplayMode(r.Mode),
		},
		ID: r.ID, TenantID: r.TenantID, CreatedAt: r.CreatedAt, State: string(r.State),
		Matched: r.Matched, Enqueued: r.Enqueued, Delivered: r.Delivered, Failed: r.Failed, FinishedAt: r.FinishedAt,
	}
}

// CreateReplay starts a replay. A running client works on it. It returns a
// [*FieldError], a [*LimitError] where the tenant has 10 unfinished replays, and
// [ErrNotFound] or [ErrDisabled] for the webhook.
func (c *Client) CreateReplay(ctx context.Context, tenant TenantID, q ReplayRequest) (Replay, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Replay{}, err
	}
	r, err := c.replays.Create(ctx, tenant, q.request())
	if err != nil {
		return Replay{}, err
	}
	replay.Wake(c.nc)
	return fromReplay(r), nil
}

// ReplayPreview is what a replay would send.
type ReplayPreview struct {
	// Deliveries counts the deliveries that the replay would create; ByWebhook those of
	// each webhook that would get some. They are lower bounds unless Complete.
	Deliveries int
	ByWebhook  map[WebhookID]int
	// Complete reports whether all events of the window were read: at most 10,000 are.
	Complete bool
}

// PreviewReplay counts what a replay would send, and stores nothing. Its errors are
// those of [Client.CreateReplay], without the limit of unfinished replays.
func (c *Client) PreviewReplay(ctx context.Context, tenant TenantID, q ReplayRequest) (ReplayPreview, error) {
	if err := c.ready(); err != nil {
		return ReplayPreview{}, err
	}
	p, err := c.replays.Preview(ctx, tenant, q.request())
	if err != nil {
		return ReplayPreview{}, err
	}
	out := ReplayPreview{Deliveries: p.Deliveries, Complete: p.Complete, ByWebhook: make(map[WebhookID]int, len(p.Webhooks))}
	for _, w := range p.Webhooks {
		out.ByWebhook[w.ID] = w.Deliveries
	}
	return out, nil
}

// GetReplay returns a replay and its progress, or [ErrNotFound].
func (c *Client) GetReplay(ctx context.Context, tenant TenantID, id ReplayID) (Replay, error) {
	if err := c.ready(); err != nil {
		return Replay{}, err
	}
	r, err := c.replays.Get(ctx, tenant, id)
	if err != nil {
		return Replay{}, err
	}
	return fromReplay(r), nil
}

// ListReplays returns up to limit replays after a cursor, newest first, and the
// cursor of the next page.
func (c *Client) ListReplays(ctx context.Context, tenant TenantID, after Cursor, limit int) ([]Replay, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	found, more, err := c.replays.List(ctx, tenant, after, limit+1)
	if err != nil {
		return nil, Cursor{}, err
	}
	place := func(r replay.Replay) Cursor { return Cursor{CreatedAt: r.CreatedAt, ID: r.ID} }
	found, next := cut(found, limit, place)
	if more {
		next = place(found[len(found)-1])
	}
	out := make([]Replay, len(found))
	for i, r := range found {
		out[i] = fromReplay(r)
	}
	return out, next, nil
}

// CancelReplay stops a replay: deliveries that have had no attempt end as failed.
// A second call changes nothing. It returns [ErrNotFound], or [ErrCompleted] for a
// replay that ended before it was cancelled.
func (c *Client) CancelReplay(ctx context.Context, tenant TenantID, id ReplayID) (Replay, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Replay{}, err
	}
	r, err := c.replays.Cancel(ctx, tenant, id)
	if err != nil {
		return Replay{}, err
	}
	replay.Wake(c.nc)
	return fromReplay(r), nil
}
