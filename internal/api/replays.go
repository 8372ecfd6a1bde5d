package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// newReplay is the body of POST /v1/replays.
type newReplay struct {
	Since     instant          `json:"since" doc:"Events created at this time or later."`
	Until     *instant         `json:"until,omitempty" doc:"Events created before this time. Defaults to now, which is also the latest value."`
	WebhookID events.WebhookID `json:"webhook_id,omitempty" pattern:"^wh_[0-9a-fA-F]{32}$" doc:"Replay to this webhook only. Defaults to all enabled webhooks."`
	Types     []eventPattern   `json:"types,omitempty" doc:"Only events of these types."`
	AgentIDs  []storedText     `json:"agent_ids,omitempty" maxItems:"50" doc:"Only events of these agents; each must be an agent of this tenant."`
	Mode      string           `json:"mode" enum:"missed,all" doc:"missed: the events that match the webhook's present filters and have no successful delivery to it. This includes events from before the webhook existed and while it was disabled. all: every matching event, also those delivered before."`
}

func (b *newReplay) request() replay.Request {
	q := replay.Request{Since: b.Since.Time, WebhookID: b.WebhookID, Types: eventPatterns(b.Types), AgentIDs: texts(b.AgentIDs), Mode: replay.Mode(b.Mode)}
	if b.Until != nil {
		q.Until = b.Until.Time
	}
	return q
}

// Replay is a replay and its progress.
type Replay struct {
	ID         events.ReplayID   `json:"id" example:"rpl_0123456789abcdef0123456789abcdef"`
	State      string            `json:"state" enum:"queued,running,cancelling,cancelled,completed" doc:"A replay is completed when all of its deliveries have ended."`
	Mode       string            `json:"mode" enum:"missed,all"`
	Since      time.Time         `json:"since"`
	Until      time.Time         `json:"until"`
	WebhookID  *events.WebhookID `json:"webhook_id" nullable:"true"`
	Types      []string          `json:"types"`
	AgentIDs   []string          `json:"agent_ids"`
	Reading    bool              `json:"reading" doc:"The replay is still reading events, so that matched is not final."`
	Source     *string           `json:"source" enum:"jetstream,postgres,both" doc:"Where the events came from; null: none found yet."`
	Matched    int64             `json:"matched" doc:"Matching pairs of an event and a webhook."`
	Enqueued   int64             `json:"enqueued" doc:"Deliveries created for them. The other pairs were delivered before, or are pending."`
	Waiting    int64             `json:"waiting" doc:"Pairs that were found and are not enqueued yet."`
	Delivered  int64             `json:"delivered" doc:"Deliveries of the replay that succeeded."`
	Failed     int64             `json:"failed" doc:"Deliveries of the replay that failed, including cancelled ones."`
	CreatedAt  time.Time         `json:"created_at"`
	FinishedAt *time.Time        `json:"finished_at"`
}

func showReplay(r replay.Replay) Replay {
	out := Replay{
		ID: r.ID, State: string(r.State), Mode: string(r.Mode), Since: r.Since, Until: r.Until, Types: make([]string, len(r.Types)),
		AgentIDs: r.AgentIDs, Reading: r.Reading, Source: text(r.Source), Matched: r.Matched, Enqueued: r.Enqueued, Waiting: r.Waiting,
		Delivered: r.Delivered, Failed: r.Failed, CreatedAt: r.CreatedAt, FinishedAt: r.FinishedAt,
	}
	for i, t := range r.Types {
		out.Types[i] = string(t)
	}
	if !r.WebhookID.IsZero() {
		out.WebhookID = &r.WebhookID
	}
	return out
}

// ReplayPreview is what a replay would send now.
type ReplayPreview struct {
	Since      time.Time         `json:"since"`
	Until      time.Time         `json:"until"`
	Mode       string            `json:"mode" enum:"missed,all"`
	Deliveries int               `json:"deliveries" doc:"The deliveries that a replay would create: at least so many if complete is false."`
	Events     int               `json:"events" doc:"The events of the window that were read, oldest first."`
	Complete   bool              `json:"complete" doc:"False if the window has more events than one preview reads."`
	Webhooks   []previewedTarget `json:"webhooks" doc:"The webhooks that would get deliveries, newest first."`
}

type previewedTarget struct {
	WebhookID  events.WebhookID `json:"webhook_id"`
	URL        string           `json:"url"`
	Deliveries int              `json:"deliveries"`
}

func showPreview(p replay.Preview, mode replay.Mode) ReplayPreview {
	out := ReplayPreview{
		Since: p.Since, Until: p.Until, Mode: string(mode), Deliveries: p.Deliveries, Events: p.Events, Complete: p.Complete,
		Webhooks: make([]previewedTarget, len(p.Webhooks)),
	}
	for i, w := range p.Webhooks {
		out.Webhooks[i] = previewedTarget{WebhookID: w.ID, URL: w.URL, Deliveries: w.Deliveries}
	}
	return out
}

type replayPath struct {
	ID events.ReplayID `path:"id"`
}

func (s *server) replayRoutes() {
	register(s, tenants.needs(tenancy.Redeliver), huma.Operation{
		OperationID: "create-replay", Method: http.MethodPost, Path: "/v1/replays", DefaultStatus: http.StatusAccepted,
		Summary: "Replay past events",
		Description: fmt.Sprintf("The replay runs in the background and is slow enough not to delay new events. A disabled webhook is a 409. "+
			"A tenant has at most %d unfinished replays; one more is a 409.", replay.MaxActive),
	}, s.createReplay)
	register(s, tenants.needs(tenancy.Redeliver).unaudited(), huma.Operation{
		OperationID: "preview-replay", Method: http.MethodPost, Path: "/v1/replays/preview",
		Summary: "Count what a replay would send",
		Description: fmt.Sprintf("Takes the body of create-replay and sends and stores nothing. It reads at most %d events, oldest first; where the window has more, "+
			"`complete` is false and the counts are lower bounds. A tenant has at most %d previews at once; one more is a 429.", replay.PreviewEvents, maxPreviews),
	}, s.previewReplay)
	register(s, tenants, huma.Operation{
		OperationID: "list-replays", Method: http.MethodGet, Path: "/v1/replays", Summary: "List replays",
	}, s.listReplays)
	register(s, tenants, huma.Operation{
		OperationID: "get-replay", Method: http.MethodGet, Path: "/v1/replays/{id}", Summary: "Read a replay and its progress",
	}, s.getReplay)
	register(s, tenants.needs(tenancy.Redeliver), huma.Operation{
		OperationID: "cancel-replay", Method: http.MethodDelete, Path: "/v1/replays/{id}", DefaultStatus: http.StatusAccepted,
		Summary: "Cancel a replay",
		Description: "Deliveries that were not sent yet end as failed, with the error \"cancelled\". Deliveries in flight can still arrive. " +
			"The state is cancelling until this is done. A completed replay is a 409.",
	}, s.cancelReplay)
}

func (s *server) createReplay(ctx context.Context, in *struct{ Body newReplay }) (*body[Replay], error) {
	q := in.Body.request()
	var made replay.Replay
	err := s.change(ctx, func(u *unit) (err error) {
		u.then(s.wakeReplays)
		if err = tenancy.Lock(ctx, u, tenant(ctx)); err != nil {
			return err
		}
		recent, err := s.replays.In(u).LastHour(ctx, tenant(ctx))
		if err != nil {
			return err
		}
		if limit := s.quotaOf(ctx).ReplaysPerHour; recent >= limit {
			return s.overQuota("replays_per_hour", http.StatusTooManyRequests, "this tenant may create %d replays within an hour", limit)
		}
		made, err = s.replays.In(u).Create(ctx, tenant(ctx), q)
		u.became(showReplay(made))
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(showReplay(made)), nil
}

// maxPreviews is how many previews of a tenant may run at once in this process.
const maxPreviews = 2

func (s *server) previewReplay(ctx context.Context, in *struct{ Body newReplay }) (*body[ReplayPreview], error) {
	p, err := s.preview(ctx, in.Body.request())
	if err != nil {
		return nil, err
	}
	return reply(p), nil
}

func (s *server) preview(ctx context.Context, q replay.Request) (ReplayPreview, error) {
	if !s.previews.open(tenant(ctx), maxPreviews) {
		return ReplayPreview{}, huma.ErrorWithHeaders(problem(http.StatusTooManyRequests, "this tenant has %d previews of replays running, which is the limit; try again when one has ended", maxPreviews),
			http.Header{"Retry-After": {"2"}})
	}
	defer s.previews.close(tenant(ctx))
	p, err := s.replays.Preview(ctx, tenant(ctx), q)
	if err != nil {
		return ReplayPreview{}, err
	}
	return showPreview(p, q.Mode), nil
}

func (s *server) listReplays(ctx context.Context, in *struct{ Paging }) (*body[list[Replay]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, more, err := s.replays.List(ctx, tenant(ctx), after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(r replay.Replay) (time.Time, [16]byte) { return r.CreatedAt, r.ID }
	return boundedPage(&in.Paging, found, more, place, showReplay), nil
}

func (s *server) getReplay(ctx context.Context, in *replayPath) (*body[Replay], error) {
	r, err := s.replays.Get(ctx, tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return reply(showReplay(r)), nil
}

func (s *server) cancelReplay(ctx context.Context, in *replayPath) (*body[Replay], error) {
	var r replay.Replay
	err := s.change(ctx, func(u *unit) (err error) {
		u.then(s.wakeReplays)
		before, err := s.replays.In(u).Get(ctx, tenant(ctx), in.ID)
		if err != nil {
			return err
		}
		u.was(showReplay(before))
		u.unchanged = before.State == replay.Cancelling || before.State == replay.Cancelled
		r, err = s.replays.In(u).Cancel(ctx, tenant(ctx), in.ID)
		u.became(showReplay(r))
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(showReplay(r)), nil
}
