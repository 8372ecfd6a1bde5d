package api

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/mailsearch"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// newEvent describes the body that [events.DecodeIntake] decodes, for the OpenAPI
// document.
type newEvent struct {
	Type           mailType `json:"type"`
	AgentID        string   `json:"agent_id,omitempty" doc:"The address of an agent of this tenant."`
	ConversationID string   `json:"conversation_id,omitempty"`
	Labels         []string `json:"labels,omitempty"`
	MessageID      string   `json:"message_id,omitempty"`
	Data           object   `json:"data" doc:"The envelope's data."`
	IdempotencyKey string   `json:"idempotency_key,omitempty" doc:"Requests with the same key and type create one event within 30 days."`
}

// Event is an event without its envelope.
type Event struct {
	ID             events.ID `json:"id" example:"evt_0123456789abcdef0123456789abcdef"`
	Type           string    `json:"type"`
	CreatedAt      time.Time `json:"created_at"`
	AgentID        *string   `json:"agent_id"`
	ConversationID *string   `json:"conversation_id"`
	Labels         []string  `json:"labels"`
	MessageID      *string   `json:"message_id"`
	Mail           *summary  `json:"mail,omitempty" doc:"With the parameter mail: the sender and the subject."`
}

// summary is what a list shows of a mail.
type summary struct {
	From    *string `json:"from" doc:"The first sender; null for none."`
	Subject *string `json:"subject"`
}

// eventDetail is an event with its envelope and its deliveries.
type eventDetail struct {
	Event
	FanOut              fanOut          `json:"fan_out"`
	Envelope            json.RawMessage `json:"envelope" doc:"The body of the POST, byte for byte."`
	Deliveries          []eventDelivery `json:"deliveries" doc:"Newest first."`
	DeliveriesTruncated bool            `json:"deliveries_truncated" doc:"There are more than 1000 deliveries."`
}

// eventDelivery is a delivery of an event.
type eventDelivery struct {
	Delivery
	AttemptLog []attempt `json:"attempt_log,omitempty" doc:"With the parameter attempts, of the newest 20 deliveries that have attempts: the newest 100 of each, in order; absent otherwise."`
}

// maxEventAttempts is of how many deliveries of an event the attempts are read.
const maxEventAttempts = 20

// accepted is the response of POST /v1/events.
type accepted struct {
	ID events.ID `json:"id"`
}

// redelivery is the response of POST /v1/events/{id}/redeliver.
type redelivery struct {
	ReplayID   events.ReplayID `json:"replay_id"`
	Deliveries []Delivery      `json:"deliveries"`
}

func showEvent(r events.Record) Event {
	return Event{
		ID: r.ID, Type: string(r.Type), CreatedAt: r.CreatedAt, AgentID: text(r.AgentID), ConversationID: text(r.ConversationID),
		Labels: r.Labels, MessageID: text(r.MessageID),
	}
}

func showDeliveries(rows []subscribers.DeliveryRow) []Delivery {
	out := make([]Delivery, len(rows))
	for i, d := range rows {
		out[i] = showDelivery(d)
	}
	return out
}

// EventPath has the id of an event.
type EventPath struct {
	ID events.ID `path:"id"`
}

type eventQuery struct {
	Paging
	Type    eventType  `query:"type"`
	AgentID storedText `query:"agent_id" maxLength:"998"`
	Since   instant    `query:"since" doc:"Events created at this time or later."`
	Until   instant    `query:"until" doc:"Events created before this time."`

	MessageID       storedText `query:"message_id" maxLength:"998" doc:"The event's message_id."`
	MessageIDHeader storedText `query:"message_id_header" maxLength:"998" doc:"The Message-ID of the mail, with or without angle brackets: data.message_id_header of its event."`
	From            storedText `query:"from" maxLength:"998" doc:"The sender: an address, or a part of an address or of a name. A part that begins with @ is a domain."`
	To              storedText `query:"to" maxLength:"998" doc:"A recipient, likewise. The event's agent is one."`
	Subject         storedText `query:"subject" maxLength:"998" doc:"A part of the subject."`

	Mail bool `query:"mail" doc:"Adds the sender and the subject, if the first 8 KiB of the envelope have them."`
}

func (q *eventQuery) filter() outbox.LogFilter {
	return outbox.LogFilter{
		Type: events.Type(q.Type), AgentID: mailbox.Fold(string(q.AgentID)), Since: q.Since.Time, Until: q.Until.Time,
		MessageID: string(q.MessageID), MessageIDHeader: string(q.MessageIDHeader), From: string(q.From), To: string(q.To), Subject: string(q.Subject),
	}
}

type redeliverInput struct {
	EventPath
	Body *struct {
		WebhookID events.WebhookID `json:"webhook_id,omitempty" pattern:"^wh_[0-9a-fA-F]{32}$"`
	} `nameHint:"RedeliverySettings"`
}

func (s *server) eventRoutes() {
	register(s, tenants.needs(tenancy.Send).unaudited(), huma.Operation{
		OperationID: "create-event", Method: http.MethodPost, Path: "/v1/events", DefaultStatus: http.StatusAccepted,
		Summary: "Create an event", Description: "The response is sent after the event is committed to the outbox.",
		SkipValidateBody: true, // the handler decodes it as the intake subject does, so that errors are the same
	}, s.createEvent)
	doc := s.api.OpenAPI()
	doc.Paths["/v1/events"].Post.RequestBody.Content[jsonType].Schema = doc.Components.Schemas.Schema(reflect.TypeFor[newEvent](), true, "")
	register(s, tenants, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events", Summary: "List and find events",
		Description: scanNote + " `message_id` and `message_id_header` are looked up by an index. `from`, `to` and `subject` compare the mails in the events' data, " +
			"in letters of either case. An event is listed if it passes all filters.",
	}, s.listEvents)
	register(s, tenants.orPortal(), huma.Operation{
		OperationID: "get-event", Method: http.MethodGet, Path: "/v1/events/{id}", Summary: "Read an event and its deliveries",
	}, s.getEvent)
	register(s, tenants.needs(tenancy.Redeliver), huma.Operation{
		OperationID: "redeliver-event", Method: http.MethodPost, Path: "/v1/events/{id}/redeliver", DefaultStatus: http.StatusAccepted,
		Summary: "Redeliver an event",
		Description: "Sends the event to `webhook_id`. Without it, to every webhook that has a delivery of the event and still exists. " +
			"Each delivery counts as an event of the quota `events_per_day`; one above it is a 429.",
	}, s.redeliverEvent)
}

func (s *server) listEvents(ctx context.Context, in *eventQuery) (*body[searched[Event]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, end, err := outbox.ListLog(ctx, s.pool, tenant(ctx), in.filter(), after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(r events.Record) (time.Time, [16]byte) { return r.CreatedAt, r.ID }
	page := searchedTo(&in.Paging, found, end, place, showEvent)
	if in.Mail {
		err = s.addMails(ctx, page.Body.Data)
	}
	return page, err
}

// addMails adds to events what their envelopes say of the mail. The list is one tenant's.
func (s *server) addMails(ctx context.Context, list []Event) error {
	var refs outbox.EventRefs
	for i := range list {
		refs.Add(list[i].ID, list[i].CreatedAt)
	}
	heads, err := outbox.Heads(ctx, s.pool, refs)
	if err != nil {
		return err
	}
	for i := range list {
		from, subject := mailsearch.Summary(heads[list[i].ID])
		list[i].Mail = &summary{From: text(from), Subject: text(subject)}
	}
	return nil
}

type eventInput struct {
	EventPath
	Attempts bool `query:"attempts" doc:"Adds the newest 100 attempts of each of the newest 20 deliveries."`
}

// withAttempts are the deliveries of an event, with the attempts of the newest ones if they are asked for.
func (s *server) withAttempts(ctx context.Context, rows []subscribers.DeliveryRow, asked bool) ([]eventDelivery, error) {
	out := make([]eventDelivery, len(rows))
	for i, d := range rows {
		out[i].Delivery = showDelivery(d)
	}
	if !asked || len(rows) == 0 {
		return out, nil
	}
	newest := rows[:min(len(rows), maxEventAttempts)]
	logs, err := s.store.AttemptsOf(ctx, newest)
	if err != nil {
		return nil, err
	}
	for i, d := range newest {
		out[i].AttemptLog = showAttempts(logs[d.ID])
	}
	return out, nil
}

func (s *server) getEvent(ctx context.Context, in *eventInput) (*body[eventDetail], error) {
	rec, envelope, err := outbox.Find(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, err // no rows: 404
	}
	out := eventDetail{Event: showEvent(rec), Envelope: envelope}
	found, err := s.store.EventDeliveries(ctx, tenant(ctx), in.ID, out.CreatedAt, maxEventDeliveries+1)
	if err == nil {
		found, err = shownDeliveries(ctx, found)
	}
	if err != nil {
		return nil, err
	}
	portal := caller(ctx).Portal()
	if len(found) > maxEventDeliveries && !portal {
		found, out.DeliveriesTruncated = found[:maxEventDeliveries], true
	}
	if out.Deliveries, err = s.withAttempts(ctx, found, in.Attempts); err != nil || portal {
		return reply(out), err
	}
	if out.FanOut, err = s.fanOutOf(ctx, &rec); err != nil {
		return nil, err
	}
	return reply(out), nil
}

func (s *server) redeliverEvent(ctx context.Context, in *redeliverInput) (*body[redelivery], error) {
	var to events.WebhookID
	if in.Body != nil {
		to = in.Body.WebhookID
	}
	most := 1
	if to.IsZero() {
		var err error
		if most, err = s.store.Count(ctx, tenant(ctx)); err != nil {
			return nil, err
		}
	}
	var out redelivery
	err := s.spend(ctx, usage.Amount{Events: int64(most)}, func(u *unit) (usage.Amount, error) {
		replay, rows, err := s.store.In(u).Redeliver(ctx, tenant(ctx), in.ID, to)
		out = redelivery{ReplayID: replay, Deliveries: showDeliveries(rows)}
		u.then(func() {
			for _, d := range rows {
				s.wakeLane(d.WebhookID)
			}
		})
		return usage.Amount{Events: int64(len(rows))}, err
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}

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
	prepared, err := outbox.Prepare(ev)
	if err != nil {
		return nil, err
	}
	faults, err := s.types.Check(ctx, s.pool, []events.Event{ev}) // it may take long: not in the transaction
	if err = errors.Join(append(faults, s.comparing(err))...); err != nil {
		return nil, err
	}
	size := usage.Amount{Events: 1, Bytes: int64(len(in.RawBody))}
	var out accepted
	err = s.spend(ctx, size, func(u *unit) (used usage.Amount, err error) {
		if err := mailbox.CheckAgents(ctx, u, ev.TenantID, "agent_id", ev.AgentID); err != nil {
			return used, err
		}
		done, err := outbox.InsertPrepared(ctx, u, []outbox.Prepared{prepared.Counted().Checked()})
		if err != nil {
			return used, err
		}
		out.ID = done[0].ID
		u.then(s.wakeOutbox)
		if u.unchanged = !done[0].New; done[0].New {
			used = size
		}
		return used, nil
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}
