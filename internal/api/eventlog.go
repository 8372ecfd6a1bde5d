package api

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxEventDeliveries bounds the deliveries that are shown with an event.
const maxEventDeliveries = 1000

// newEvent shows in the document what [events.DecodeIntake] reads.
type newEvent struct {
	Type           mailType `json:"type"`
	AgentID        string   `json:"agent_id,omitempty" doc:"The address of an agent of this tenant."`
	ConversationID string   `json:"conversation_id,omitempty"`
	Labels         []string `json:"labels,omitempty"`
	MessageID      string   `json:"message_id,omitempty"`
	Data           object   `json:"data" doc:"The envelope's data."`
	IdempotencyKey string   `json:"idempotency_key,omitempty" doc:"Makes two requests of one key and type within 30 days one event."`
}

// Event is a line of the event log.
type Event struct {
	ID             events.ID `json:"id" example:"evt_0123456789abcdef0123456789abcdef"`
	Type           string    `json:"type"`
	CreatedAt      time.Time `json:"created_at"`
	AgentID        *string   `json:"agent_id"`
	ConversationID *string   `json:"conversation_id"`
	Labels         []string  `json:"labels"`
	MessageID      *string   `json:"message_id"`
}

// eventDetail is an event with what it carries and whom it went to.
type eventDetail struct {
	Event
	Envelope            json.RawMessage `json:"envelope" doc:"As it is POSTed, byte for byte."`
	Deliveries          []Delivery      `json:"deliveries" doc:"Newest first."`
	DeliveriesTruncated bool            `json:"deliveries_truncated" doc:"There are more than 1000."`
}

// accepted is the answer to a new event.
type accepted struct {
	ID events.ID `json:"id"`
}

// redelivery is the answer to a request to send an event again.
type redelivery struct {
	ReplayID   events.ReplayID `json:"replay_id"`
	Deliveries []Delivery      `json:"deliveries"`
}

func showEvent(r events.Record) Event {
	return Event{
		ID: r.ID, Type: string(r.Type), CreatedAt: r.CreatedAt, AgentID: orNull(r.AgentID), ConversationID: orNull(r.ConversationID),
		Labels: r.Labels, MessageID: orNull(r.MessageID),
	}
}

// orNull returns nil for "".
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func showDeliveries(rows []subscribers.DeliveryRow) []Delivery {
	out := make([]Delivery, len(rows))
	for i, d := range rows {
		out[i] = showDelivery(d)
	}
	return out
}

// EventPath is the path's parameter.
type EventPath struct {
	ID events.ID `path:"id"`
}

func (s *server) eventRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "create-event", Method: http.MethodPost, Path: "/v1/events", DefaultStatus: http.StatusAccepted,
		Summary: "Hand in an event", Description: "The answer comes once the event is committed to the outbox.",
		SkipValidateBody: true, // so that the same fault has the same words here and on the intake subject
	}, s.createEvent)
	doc := s.api.OpenAPI()
	doc.Paths["/v1/events"].Post.RequestBody.Content[jsonType].Schema = doc.Components.Schemas.Schema(reflect.TypeFor[newEvent](), true, "")
	register(s, tenants, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events", Summary: "List events", Description: scanNote,
	}, func(ctx context.Context, in *struct {
		Paging
		Type    eventType `query:"type"`
		AgentID string    `query:"agent_id" maxLength:"998"`
		Since   time.Time `query:"since" doc:"Made at this time or later."`
		Until   time.Time `query:"until" doc:"Made before this time."`
	},
	) (*body[list[Event]], error) {
		after, err := in.after()
		if err != nil {
			return nil, err
		}
		if !storable(in.AgentID) {
			return nil, fault("query.agent_id", "is no address")
		}
		f := outbox.LogFilter{Type: events.Type(in.Type), AgentID: strings.ToLower(in.AgentID), Since: in.Since, Until: in.Until}
		found, end, err := outbox.ListLog(ctx, s.pool, tenant(ctx), f, after, in.Limit+1)
		if err != nil {
			return nil, err
		}
		return pageTo(&in.Paging, found, end, func(r events.Record) (time.Time, [16]byte) { return r.CreatedAt, r.ID }, showEvent), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "get-event", Method: http.MethodGet, Path: "/v1/events/{id}", Summary: "Read an event and its deliveries",
	}, func(ctx context.Context, in *EventPath) (*body[eventDetail], error) {
		rec, envelope, err := outbox.Find(ctx, s.pool, tenant(ctx), in.ID)
		if err != nil {
			return nil, err // no rows: 404
		}
		out := eventDetail{Event: showEvent(rec), Envelope: envelope}
		found, err := s.store.EventDeliveries(ctx, tenant(ctx), in.ID, out.CreatedAt, maxEventDeliveries+1)
		if err != nil {
			return nil, err
		}
		if len(found) > maxEventDeliveries {
			found, out.DeliveriesTruncated = found[:maxEventDeliveries], true
		}
		out.Deliveries = showDeliveries(found)
		return reply(out), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "redeliver-event", Method: http.MethodPost, Path: "/v1/events/{id}/redeliver", DefaultStatus: http.StatusAccepted,
		Summary:     "Send an event again",
		Description: "To one webhook, or, without `webhook_id`, to every webhook that it went to before and that still exists.",
	}, func(ctx context.Context, in *struct {
		EventPath
		Body *struct {
			WebhookID events.WebhookID `json:"webhook_id,omitempty" pattern:"^wh_[0-9a-fA-F]{32}$"`
		} `nameHint:"RedeliverySettings"`
	},
	) (*body[redelivery], error) {
		var to events.WebhookID
		if in.Body != nil {
			to = in.Body.WebhookID
		}
		var out redelivery
		err := s.change(ctx, func(u *unit) error {
			replay, rows, err := s.store.In(u).Redeliver(ctx, tenant(ctx), in.ID, to)
			out = redelivery{ReplayID: replay, Deliveries: showDeliveries(rows)}
			u.then(func() {
				for _, d := range rows {
					s.wakeLane(d.WebhookID)
				}
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		return reply(out), nil
	})
}

// jsonType is the content type of requests.
const jsonType = "application/json"

func (s *server) createEvent(ctx context.Context, in *struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/json"`
},
) (*body[accepted], error) {
	if kind, _, err := mime.ParseMediaType(in.ContentType); in.ContentType != "" && (err != nil || kind != jsonType && !strings.HasSuffix(kind, "+json")) {
		return nil, problem(http.StatusUnsupportedMediaType, "the body must be %s", jsonType)
	}
	ev, err := events.DecodeIntake(tenant(ctx), in.RawBody)
	if err != nil {
		return nil, err
	}
	var out accepted
	err = s.change(ctx, func(u *unit) (err error) {
		if err := ownAgent(ctx, u, ev.TenantID, ev.AgentID); err != nil {
			return err
		}
		out.ID, err = outbox.Insert(ctx, u, ev)
		u.then(s.wakeOutbox)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}
