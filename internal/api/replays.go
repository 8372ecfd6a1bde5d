package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
)

// newReplay is the body of POST /v1/replays.
type newReplay struct {
	Since     time.Time        `json:"since" doc:"Events made at this time or later."`
	Until     *time.Time       `json:"until,omitempty" doc:"Events made before this time; now, unless given, and never later."`
	WebhookID events.WebhookID `json:"webhook_id,omitempty" pattern:"^wh_[0-9a-fA-F]{32}$" doc:"To this webhook alone; else to every one that is enabled."`
	Types     []eventType      `json:"types,omitempty" doc:"Only events of these types."`
	AgentIDs  []string         `json:"agent_ids,omitempty" maxItems:"50" doc:"Only events of these agents of this tenant."`
	Mode      string           `json:"mode" enum:"missed,all" doc:"missed: what a webhook should have had, by its filters as they are now, and has no success for, events while it was disabled or did not exist yet included. all: everything again."`
}

// Replay is past events on their way again.
type Replay struct {
	ID         events.ReplayID   `json:"id" example:"rpl_0123456789abcdef0123456789abcdef"`
	State      string            `json:"state" enum:"queued,running,cancelling,cancelled,completed" doc:"It is completed when every delivery that it made has ended."`
	Mode       string            `json:"mode" enum:"missed,all"`
	Since      time.Time         `json:"since"`
	Until      time.Time         `json:"until"`
	WebhookID  *events.WebhookID `json:"webhook_id" nullable:"true"`
	Types      []string          `json:"types"`
	AgentIDs   []string          `json:"agent_ids"`
	Reading    bool              `json:"reading" doc:"Events are still being looked for: matched is not final."`
	Source     *string           `json:"source" enum:"jetstream,postgres,both" doc:"Where the events came from; null: none were found yet."`
	Matched    int64             `json:"matched" doc:"Pairs of an event and a webhook that match."`
	Enqueued   int64             `json:"enqueued" doc:"Deliveries made of them. The others were had already, or are pending."`
	Waiting    int64             `json:"waiting" doc:"Found, and yet to be looked at closer and enqueued."`
	Delivered  int64             `json:"delivered" doc:"Of the deliveries made, those that succeeded."`
	Failed     int64             `json:"failed" doc:"Those that failed for good, cancelled ones included."`
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

type replayPath struct {
	ID events.ReplayID `path:"id"`
}

func (s *server) replayRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "create-replay", Method: http.MethodPost, Path: "/v1/replays", DefaultStatus: http.StatusAccepted,
		Summary: "Send past events again",
		Description: "In the background, at a pace that leaves new events their latency. A disabled webhook is a 409, and so is an eleventh " +
			"replay while ten are not finished.",
	}, func(ctx context.Context, in *struct{ Body newReplay }) (*body[Replay], error) {
		b := &in.Body
		q := replay.Request{Since: b.Since, WebhookID: b.WebhookID, Types: eventTypes(b.Types), AgentIDs: b.AgentIDs, Mode: replay.Mode(b.Mode)}
		if b.Until != nil {
			q.Until = *b.Until
		}
		var made replay.Replay
		err := s.change(ctx, func(u *unit) (err error) {
			u.then(s.wakeReplays)
			made, err = s.replays.In(u).Create(ctx, tenant(ctx), q)
			return err
		})
		if err != nil {
			return nil, err
		}
		return reply(showReplay(made)), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "list-replays", Method: http.MethodGet, Path: "/v1/replays", Summary: "List replays",
	}, func(ctx context.Context, in *struct{ Paging }) (*body[list[Replay]], error) {
		after, err := in.after()
		if err != nil {
			return nil, err
		}
		found, err := s.replays.List(ctx, tenant(ctx), after, in.Limit+1)
		if err != nil {
			return nil, err
		}
		return page(&in.Paging, found, func(r replay.Replay) (time.Time, [16]byte) { return r.CreatedAt, r.ID }, showReplay), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "get-replay", Method: http.MethodGet, Path: "/v1/replays/{id}", Summary: "Read a replay's progress",
	}, func(ctx context.Context, in *replayPath) (*body[Replay], error) {
		r, err := s.replays.Get(ctx, tenant(ctx), in.ID)
		if err != nil {
			return nil, err
		}
		return reply(showReplay(r)), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "cancel-replay", Method: http.MethodDelete, Path: "/v1/replays/{id}", DefaultStatus: http.StatusAccepted,
		Summary: "Cancel a replay",
		Description: "Its deliveries that are not sent yet end as failed, with the error \"cancelled\"; what is on the wire at that moment may " +
			"still arrive. The state is cancelling until that is done. A completed one is a 409.",
	}, func(ctx context.Context, in *replayPath) (*body[Replay], error) {
		var r replay.Replay
		err := s.change(ctx, func(u *unit) (err error) {
			u.then(s.wakeReplays)
			r, err = s.replays.In(u).Cancel(ctx, tenant(ctx), in.ID)
			return err
		})
		if errors.Is(err, replay.ErrCompleted) {
			return nil, problem(http.StatusConflict, "%s", err)
		}
		if err != nil {
			return nil, err
		}
		return reply(showReplay(r)), nil
	})
}

func (s *server) wakeReplays() { replay.Wake(s.nc) }
