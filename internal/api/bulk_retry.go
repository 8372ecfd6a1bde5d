package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// bulkRetry is the body of POST /v1/webhooks/{id}/retry.
type bulkRetry struct {
	Since     instant   `json:"since" doc:"Deliveries created at this time or later."`
	Until     *instant  `json:"until,omitempty" doc:"Deliveries created before this time."`
	EventType eventType `json:"event_type,omitempty" doc:"Only deliveries of events of this type."`
	Cursor    string    `json:"cursor,omitempty" maxLength:"1500" doc:"The next_cursor of the previous response; absent in the first request."`
}

// bulkRetried is the response of POST /v1/webhooks/{id}/retry.
type bulkRetried struct {
	Retried    int     `json:"retried" doc:"The number of deliveries that are pending again."`
	NextCursor *string `json:"next_cursor" doc:"The cursor of the next request; null when the whole window is done."`
}

type bulkRetryInput struct {
	ID   events.WebhookID `path:"id"`
	Body bulkRetry
}

func (s *server) bulkRetryRoutes() {
	register(s, tenants.needs(tenancy.Redeliver), huma.Operation{
		OperationID: "retry-webhook-deliveries", Method: http.MethodPost, Path: "/v1/webhooks/{id}/retry",
		Summary: "Retry a webhook's failed deliveries now",
		Description: fmt.Sprintf("Failed deliveries that were created in the window get %d more attempts. One request retries at most %d deliveries; "+
			"repeat it with `next_cursor` until that is null. Tests, expired deliveries, deliveries of cancelled replays and those that would have more than %d attempts stay as they are. "+
			"The request is idempotent.", subscribers.MaxAttempts, subscribers.BulkRetry, retry.Most),
	}, s.retryWebhookDeliveries)
}

func (s *server) retryWebhookDeliveries(ctx context.Context, in *bulkRetryInput) (*body[bulkRetried], error) {
	b := &in.Body
	after, err := placeOf(b.Cursor, "body.cursor")
	if err != nil {
		return nil, err
	}
	f := subscribers.DeliveryFilter{EventType: events.Type(b.EventType), Since: b.Since.Time}
	if b.Until != nil {
		f.Until = b.Until.Time
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
}
