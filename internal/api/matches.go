package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxEventDeliveries bounds the deliveries in the responses about one event.
const maxEventDeliveries = 1000

// fanOut says how far an event is.
type fanOut struct {
	State       string     `json:"state" enum:"waiting,done" doc:"waiting: the event is in the outbox. done: it was fanned out, or never was to be, as a test of one webhook."`
	Publishes   int        `json:"publishes" doc:"How often it has been published to the broker while it waits."`
	LeasedUntil *time.Time `json:"leased_until" doc:"When it is published again if nothing happens; null: as soon as possible."`
}

func (s *server) fanOutOf(ctx context.Context, rec *events.Record) (fanOut, error) {
	queued, err := outbox.InOutbox(ctx, s.pool, rec)
	if err != nil || queued == nil {
		return fanOut{State: "done"}, err
	}
	return fanOut{State: "waiting", Publishes: queued.Publishes, LeasedUntil: queued.LeasedUntil}, nil
}

// match is a webhook and whether an event was fanned out to it.
type match struct {
	WebhookID  events.WebhookID `json:"webhook_id"`
	URL        string           `json:"url"`
	DeletedAt  *time.Time       `json:"deleted_at" doc:"null unless the webhook is deleted."`
	FannedOut  bool             `json:"fanned_out"`
	DeliveryID *string          `json:"delivery_id" doc:"The delivery that the fan-out made."`
	Status     *string          `json:"status" enum:"pending,delivered,failed" nullable:"true" doc:"The delivery's status."`
	Reason     *string          `json:"reason" enum:"waiting,created_later,disabled,deleted,type,agent_ids,conversation_ids,labels,data,settings_changed,test,unknown" nullable:"true" doc:"Why the event was not fanned out to the webhook."`
	Text       string           `json:"text" doc:"The same in words."`
	Condition  *string          `json:"condition" doc:"The first condition that the event does not meet, as JSON, if the reason is data; else null."`
	Certain    bool             `json:"certain" doc:"false: this is concluded from the present settings, and they have changed since the event."`
	ChangedAt  *time.Time       `json:"changed_at" doc:"When what the conclusion is about changed last; null if it is certain."`
	WantedNow  bool             `json:"wanted_now" doc:"Whether the webhook's present settings ask for the event. A replay with mode missed then sends it."`
}

// reasons are the words for a reason.
var reasons = map[string]string{
	subscribers.ReasonWaiting:      "The event is not fanned out yet.",
	subscribers.ReasonLater:        "The webhook was created after the event.",
	subscribers.ReasonDisabled:     "The webhook was disabled when the event was fanned out.",
	subscribers.ReasonDeleted:      "The webhook is deleted, and its filters with it. They may have kept the event from it.",
	subscribers.ReasonType:         "The webhook does not ask for events of this type.",
	subscribers.ReasonAgent:        "The webhook's filter agent_ids does not have the event's agent.",
	subscribers.ReasonConversation: "The webhook's filter conversation_ids does not have the event's conversation.",
	subscribers.ReasonLabel:        "The webhook's filter labels has none of the event's labels.",
	subscribers.ReasonData:         "The webhook's filter data has a condition that the event does not meet: ",
	subscribers.ReasonChanged:      "The webhook's events and filters select the event now. They were changed after the event.",
	subscribers.ReasonTest:         "The event is a test. It was sent to the tested webhook alone.",
	subscribers.ReasonUnknown:      "Nothing that is known kept the event from the webhook. It may have been imported, or its delivery has expired.",
}

// maybe are the words where a reason is not certain.
var maybe = map[string]string{
	subscribers.ReasonDisabled:     "The webhook was disabled after the event, perhaps before the event was fanned out.",
	subscribers.ReasonType:         "The webhook does not ask for events of this type now. Its events or filters were changed after the event.",
	subscribers.ReasonAgent:        "The webhook's filter agent_ids does not have the event's agent now. Its events or filters were changed after the event.",
	subscribers.ReasonConversation: "The webhook's filter conversation_ids does not have the event's conversation now. Its events or filters were changed after the event.",
	subscribers.ReasonLabel:        "The webhook's filter labels has none of the event's labels now. Its events or filters were changed after the event.",
	subscribers.ReasonData:         "The webhook's filter data has a condition now that the event does not meet. Its events or filters were changed after the event. The condition: ",
}

func showMatch(m subscribers.Match) match {
	out := match{WebhookID: m.WebhookID, URL: m.URL, DeletedAt: m.DeletedAt, Certain: m.Certain, ChangedAt: m.ChangedAt, WantedNow: m.Wanted}
	if m.Delivery != nil {
		out.FannedOut = true
		out.DeliveryID, out.Status = text(m.Delivery.ID.String()), text(m.Delivery.Status)
		out.Text = "The event was fanned out to the webhook."
		return out
	}
	out.Reason, out.Text = text(m.Reason), reasons[m.Reason]
	if words := maybe[m.Reason]; !m.Certain && words != "" {
		out.Text = words
	}
	if out.Condition = text(m.Condition); m.Condition != "" {
		out.Text += m.Condition
	}
	return out
}

type matchesQuery struct {
	Paging
	ID events.ID `path:"id"`
}

func (s *server) matchRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "list-event-matches", Method: http.MethodGet, Path: "/v1/events/{id}/matches", Summary: "Tell to which webhooks an event went, and why not to others",
		Description: "One row for each webhook of the tenant, newest webhook first. The first page also has up to 100 webhooks that were deleted after the event, at its end. " +
			"Fanmail keeps the present settings of a webhook, and when they changed. `certain` says whether they were the same at the time of the event.",
	}, s.listMatches)
}

func (s *server) listMatches(ctx context.Context, in *matchesQuery) (*body[list[match]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	rec, envelope, err := outbox.Find(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, err // no rows: 404
	}
	// The outbox first: an event that is fanned out between the two reads has its deliveries.
	state, err := s.fanOutOf(ctx, &rec)
	if err != nil {
		return nil, err
	}
	sent, err := s.store.EventDeliveries(ctx, rec.TenantID, rec.ID, rec.CreatedAt, maxEventDeliveries)
	if err != nil {
		return nil, err
	}
	found, end, err := s.store.Matches(ctx, &rec, envelope, state.State == "waiting", subscribers.OfTest(sent), after, in.Limit)
	if err != nil {
		return nil, err
	}
	out := list[match]{Data: make([]match, len(found)), NextCursor: cursorOf(end)}
	for i := range found {
		out.Data[i] = showMatch(found[i])
	}
	return reply(out), nil
}
