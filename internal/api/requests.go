package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// header is a header of a request.
type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sentRequest is the request of an attempt as it was sent, or is sent next.
type sentRequest struct {
	Method   string    `json:"method" enum:"POST,PUB" doc:"PUB: a message, published at a broker."`
	URL      string    `json:"url" doc:"The webhook's present URL."`
	Subject  *string   `json:"subject" doc:"Of a broker; null for a POST."`
	Attempt  int       `json:"attempt" doc:"The attempt: the last one that was made, or the first."`
	At       time.Time `json:"at" doc:"When it was made; before the first attempt, when that is due. The signed time is this, to some seconds."`
	Headers  []header  `json:"headers" doc:"In the order of their names. Signatures are …, and what the webhook's settings keep secret is ***."`
	Body     *string   `json:"body" doc:"The body, byte for byte; null if the event has expired."`
	Envelope *string   `json:"envelope" enum:"v0.4" nullable:"true" doc:"v0.4: the webhook gets an older form of the body, which is not shown."`
	Deleted  bool      `json:"webhook_deleted" doc:"The webhook is deleted: the URL and what its settings add are gone."`
}

func (s *server) requestRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "get-delivery-request", Method: http.MethodGet, Path: "/v1/deliveries/{id}/request", Summary: "Read the request of a delivery",
		Description: "The last attempt's request. Headers are not stored: they are made by the code that sends them, with the webhook's present settings. A webhook of kind pull is a 409.",
	}, s.getDeliveryRequest)
}

func (s *server) getDeliveryRequest(ctx context.Context, in *deliveryPath) (*body[sentRequest], error) {
	d, _, envelope, err := s.store.GetDelivery(ctx, tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	out := sentRequest{Method: http.MethodPost, Attempt: max(1, d.Attempts), At: d.CreatedAt.Truncate(time.Second)}
	switch {
	case d.LastAttemptAt != nil:
		out.At = *d.LastAttemptAt
	case d.NextRetryAt != nil:
		out.At = d.NextRetryAt.Truncate(time.Second)
	}
	if envelope != nil {
		text := string(envelope)
		out.Body = &text
	}
	hook, err := s.store.Get(ctx, tenant(ctx), d.WebhookID)
	var adds func(http.Header)
	switch {
	case errors.Is(err, subscribers.ErrNotFound):
		out.Deleted = true
	case err != nil:
		return nil, err
	case hook.Kind == subscribers.KindPull:
		return nil, problem(http.StatusConflict, "the delivery's webhook is of kind pull: consumers poll it, and nothing is sent")
	default:
		if out.URL, adds, out.Subject = hook.URL, hook.AddHeaders, text(hook.Subject); hook.Kind == subscribers.KindNATS {
			out.Method = "PUB"
		}
		if hook.EnvelopeUntil != nil && out.At.Before(*hook.EnvelopeUntil) {
			out.Envelope = &hook.Envelope
		}
	}
	h, err := webhookrequest.Shown(d.EventID, d.ID, out.Attempt, out.At, envelope, adds)
	if err != nil {
		return nil, err
	}
	for name, values := range h {
		out.Headers = append(out.Headers, header{Name: name, Value: strings.Join(values, ", ")})
	}
	slices.SortFunc(out.Headers, func(a, b header) int { return strings.Compare(a.Name, b.Name) })
	return reply(out), nil
}
