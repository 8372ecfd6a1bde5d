package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Delivery is one event for one webhook.
type Delivery struct {
	ID             events.DeliveryID `json:"id" example:"whd_0123456789abcdef0123456789abcdef"`
	WebhookID      events.WebhookID  `json:"webhook_id"`
	EventID        events.ID         `json:"event_id"`
	EventType      string            `json:"event_type"`
	MessageID      *string           `json:"message_id"`
	Kind           string            `json:"kind" enum:"live,test,replay"`
	ReplayID       *events.ReplayID  `json:"replay_id" nullable:"true"`
	Status         string            `json:"status" enum:"pending,delivered,failed"`
	Attempts       int               `json:"attempts" doc:"The number of attempts so far."`
	MaxAttempts    int               `json:"max_attempts"`
	LastStatusCode *int              `json:"last_status_code" doc:"0: no response arrived; null: no attempt yet."`
	LastError      *string           `json:"last_error"`
	LastAttemptAt  *time.Time        `json:"last_attempt_at"`
	NextRetryAt    *time.Time        `json:"next_retry_at" doc:"When the delivery is due again; null once it is final."`
	CreatedAt      time.Time         `json:"created_at"`
	FinishedAt     *time.Time        `json:"finished_at"`
	ExpiresAt      time.Time         `json:"expires_at" doc:"A delivery that is still pending then becomes failed. A retention below 30 days ends it earlier."`
}

func showDelivery(d subscribers.DeliveryRow) Delivery {
	out := Delivery{
		ID: d.ID, WebhookID: d.WebhookID, EventID: d.EventID, EventType: string(d.EventType), MessageID: text(d.MessageID),
		Kind: d.Kind, Status: d.Status, Attempts: d.Attempts, MaxAttempts: d.MaxAttempts, LastStatusCode: d.LastStatusCode,
		LastError: text(d.LastError), LastAttemptAt: d.LastAttemptAt, NextRetryAt: d.NextRetryAt,
		CreatedAt: d.CreatedAt, FinishedAt: d.FinishedAt, ExpiresAt: d.ExpiresAt,
	}
	if !d.ReplayID.IsZero() {
		out.ReplayID = &d.ReplayID
	}
	return out
}

// attempt is one POST of a delivery.
type attempt struct {
	Attempt    int       `json:"attempt"`
	At         time.Time `json:"at"`
	DurationMS *int64    `json:"duration_ms" doc:"null for a success at the first attempt: its duration is not recorded."`
	StatusCode int       `json:"status_code" doc:"0: no response arrived."`
	Reason     string    `json:"reason" doc:"ok for a success, else the class of the failure. dns also means that the address may not be reached."`
	Error      *string   `json:"error"`
	Response   *string   `json:"response" doc:"The first bytes of the response."`
}

// deliveryDetail is a delivery with its attempts and its envelope.
type deliveryDetail struct {
	Delivery
	AttemptLog []attempt       `json:"attempt_log" doc:"The newest 100 attempts, in order. Older ones are left out; attempts counts them all."`
	Envelope   json.RawMessage `json:"envelope" doc:"The body of the POST, byte for byte; null if the event has expired."`
}

func showAttempts(rows []subscribers.AttemptRow) []attempt {
	out := make([]attempt, len(rows))
	for i, a := range rows {
		out[i] = attempt{
			Attempt: a.Attempt, At: a.At, StatusCode: a.StatusCode, Reason: a.Reason, Error: text(a.Error), Response: text(a.Response),
		}
		if a.Duration != nil {
			ms := a.Duration.Milliseconds()
			out[i].DurationMS = &ms
		}
	}
	return out
}

func placeDelivery(d subscribers.DeliveryRow) (time.Time, [16]byte) { return d.CreatedAt, d.ID }

type deliveryPath struct {
	ID events.DeliveryID `path:"id"`
}

type deliveryQuery struct {
	Paging
	ID        events.WebhookID `path:"id"`
	Status    string           `query:"status" enum:"pending,delivered,failed"`
	Since     instant          `query:"since" doc:"Deliveries created at this time or later."`
	Until     instant          `query:"until" doc:"Deliveries created before this time."`
	EventType eventType        `query:"event_type"`
}

type allDeliveriesQuery struct {
	Paging
	Status    string           `query:"status" enum:"pending,delivered,failed"`
	Since     instant          `query:"since" doc:"Deliveries created at this time or later."`
	Until     instant          `query:"until" doc:"Deliveries created before this time."`
	WebhookID events.WebhookID `query:"webhook_id" doc:"Only deliveries to this webhook."`
	EventType eventType        `query:"event_type"`
}

func (s *server) deliveryRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "list-all-deliveries", Method: http.MethodGet, Path: "/v1/deliveries",
		Summary: "List the deliveries of all webhooks",
		Description: scanNote + fmt.Sprintf(" The list has the deliveries of up to %[1]d webhooks, and of the %[1]d that were deleted last.",
			subscribers.ListWebhooks),
	}, s.listAllDeliveries)
	register(s, tenants.orPortal(), huma.Operation{
		OperationID: "list-deliveries", Method: http.MethodGet, Path: "/v1/webhooks/{id}/deliveries",
		Summary: "List a webhook's deliveries", Description: scanNote,
	}, s.listDeliveries)
	register(s, tenants.orPortal(), huma.Operation{
		OperationID: "get-delivery", Method: http.MethodGet, Path: "/v1/deliveries/{id}",
		Summary: "Read a delivery, its attempts and its envelope",
	}, s.getDelivery)
	register(s, tenants.needs(tenancy.Redeliver).orPortal(), huma.Operation{
		OperationID: "retry-delivery", Method: http.MethodPost, Path: "/v1/deliveries/{id}/retry",
		Summary: "Retry a delivery now",
		Description: fmt.Sprintf("A failed delivery gets %d more attempts. A delivery that succeeded, whose webhook is deleted, or whose attempt is in flight, is a 409. "+
			"So is a failed one that would have more than %d attempts.", subscribers.MaxAttempts, retry.Most),
	}, s.retryDelivery)
}

func (s *server) listDeliveries(ctx context.Context, in *deliveryQuery) (*body[list[Delivery]], error) {
	if err := shown(ctx, in.ID); err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, end, err := s.store.ListDeliveries(ctx, tenant(ctx), in.ID, subscribers.DeliveryFilter{
		Status: in.Status, EventType: events.Type(in.EventType), Since: in.Since.Time, Until: in.Until.Time,
	}, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return pageTo(&in.Paging, found, end, placeDelivery, showDelivery), nil
}

func (s *server) listAllDeliveries(ctx context.Context, in *allDeliveriesQuery) (*body[searched[Delivery]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	f := subscribers.DeliveryFilter{Status: in.Status, EventType: events.Type(in.EventType), Since: in.Since.Time, Until: in.Until.Time}
	var found []subscribers.DeliveryRow
	var end subscribers.Place
	if in.WebhookID.IsZero() {
		found, end, err = s.store.ListAllDeliveries(ctx, tenant(ctx), f, after, in.Limit+1)
	} else {
		found, end, err = s.store.ListDeliveries(ctx, tenant(ctx), in.WebhookID, f, after, in.Limit+1)
	}
	if err != nil {
		return nil, err
	}
	return searchedTo(&in.Paging, found, end, placeDelivery, showDelivery), nil
}

func (s *server) getDelivery(ctx context.Context, in *deliveryPath) (*body[deliveryDetail], error) {
	d, attempts, envelope, err := s.store.GetDelivery(ctx, tenant(ctx), in.ID)
	if err == nil {
		err = shown(ctx, d.WebhookID)
	}
	if err != nil {
		return nil, err
	}
	return reply(deliveryDetail{Delivery: showDelivery(d), AttemptLog: showAttempts(attempts), Envelope: envelope}), nil
}

func (s *server) retryDelivery(ctx context.Context, in *struct {
	ID   events.DeliveryID `path:"id"`
	Body *nothing
},
) (*body[Delivery], error) {
	var d subscribers.DeliveryRow
	err := s.change(ctx, func(u *unit) (err error) {
		if caller(ctx).Portal() {
			// Ask before the attempt, whose errors would tell about somebody else's delivery.
			before, _, _, err := s.store.In(u).GetDelivery(ctx, tenant(ctx), in.ID)
			if err == nil {
				err = shown(ctx, before.WebhookID)
			}
			if err != nil {
				return err
			}
		}
		d, err = s.store.In(u).Retry(ctx, tenant(ctx), in.ID)
		u.then(func() { s.wakeLane(d.WebhookID) })
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(showDelivery(d)), nil
}
