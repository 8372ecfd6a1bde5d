package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// bulkRetry is the body of POST /v1/webhooks/{id}/retry.
type bulkRetry struct {
	Since     time.Time  `json:"since" doc:"Deliveries made at this time or later."`
	Until     *time.Time `json:"until,omitempty" doc:"Deliveries made before this time."`
	EventType eventType  `json:"event_type,omitempty" doc:"Only those of events of this type."`
	Cursor    string     `json:"cursor,omitempty" maxLength:"1500" doc:"The next_cursor of the answer before; none at first."`
}

// bulkRetried is the answer to it.
type bulkRetried struct {
	Retried    int     `json:"retried" doc:"Deliveries that are pending again."`
	NextCursor *string `json:"next_cursor" doc:"Where to go on; null when the whole window has been dealt with."`
}

func (s *server) bulkRetryRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "retry-webhook-deliveries", Method: http.MethodPost, Path: "/v1/webhooks/{id}/retry",
		Summary: "Try a webhook's failed deliveries again, now",
		Description: "Those made in the window that have failed for good get eight attempts more. One call deals with 1000 at most; call again with " +
			"`next_cursor` until it is null. Tests, expired deliveries and those of cancelled replays stay as they are. To make the same call twice " +
			"does nothing more.",
	}, func(ctx context.Context, in *struct {
		ID   events.WebhookID `path:"id"`
		Body bulkRetry
	},
	) (*body[bulkRetried], error) {
		b := &in.Body
		after, err := placeOf(b.Cursor, "body.cursor")
		if err != nil {
			return nil, err
		}
		f := subscribers.DeliveryFilter{EventType: events.Type(b.EventType), Since: b.Since}
		if b.Until != nil {
			f.Until = *b.Until
		}
		var out bulkRetried
		err = s.change(ctx, func(u *unit) error {
			u.then(func() { s.wakeLane(in.ID) })
			n, next, err := s.store.In(u).RetryFailed(ctx, tenant(ctx), in.ID, f, after)
			out = bulkRetried{Retried: n, NextCursor: cursorOf(next)}
			return err
		})
		if err != nil {
			return nil, err
		}
		return reply(out), nil
	})
}
