package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// polled is a delivery under lease to a consumer.
type polled struct {
	DeliveryID   events.DeliveryID `json:"delivery_id" example:"whd_0123456789abcdef0123456789abcdef"`
	EventID      events.ID         `json:"event_id" doc:"The same in every delivery of the event: a consumer that has seen it can acknowledge at once."`
	Attempt      int               `json:"attempt" doc:"From 1. A lease that ran out is no attempt."`
	IsReplay     bool              `json:"is_replay" doc:"It is sent again, by a replay or on request."`
	PolledBefore bool              `json:"polled_before" doc:"An earlier poll had it, and its lease ran out without an acknowledgement: a consumer may have handled it."`
	LeasedUntil  time.Time         `json:"leased_until" doc:"When other polls get it, unless it was acknowledged."`
	Lease        string            `json:"lease" example:"lq2hhc6n1s" doc:"For acknowledgements with failed or released. All deliveries of a poll have the same."`
	Envelope     json.RawMessage   `json:"envelope" doc:"The event's envelope, byte for byte what a POST would have as its body."`
}

func showPolled(list []subscribers.Polled) polledList {
	out := polledList{Data: make([]polled, len(list))}
	for i, p := range list {
		out.Data[i] = polled(p)
	}
	return out
}

// polledList is the response to a poll.
type polledList struct {
	Data []polled `json:"data" doc:"In the order of their events. Empty: nothing is due."`
}

type pollInput struct {
	ID    events.WebhookID `path:"id"`
	Limit int              `query:"limit" minimum:"1" maximum:"100" default:"100" doc:"The most deliveries. A response has fewer if their envelopes exceed 4 MiB."`
	Wait  int              `query:"wait" minimum:"0" maximum:"30" default:"0" doc:"How many seconds to wait for the first delivery."`
	Lease int              `query:"lease" minimum:"1" maximum:"3600" default:"300" doc:"For how many seconds other polls do not get these deliveries."`
}

type ackInput struct {
	ID   events.WebhookID `path:"id"`
	Body struct {
		Delivered []events.DeliveryID `json:"delivery_ids,omitempty" maxItems:"100" doc:"Deliveries that were handled: they are delivered, also after their lease ran out."`
		Lease     string              `json:"lease,omitempty" maxLength:"20" doc:"That of the deliveries in failed and released, which need it: all of one poll. One that another poll has leased since stays as it is."`
		Failed    []ackFailure        `json:"failed,omitempty" maxItems:"100" doc:"Deliveries that could not be handled. Each is an attempt; they are due again by the webhook's retry policy, or failed if no attempt is left."`
		Released  []events.DeliveryID `json:"released,omitempty" maxItems:"100" doc:"Deliveries that are given back: they are due again at once, with as many attempts as before."`
	} `nameHint:"Acknowledgement"`
}

// ackFailure is a delivery that its consumer could not handle.
type ackFailure struct {
	DeliveryID events.DeliveryID `json:"delivery_id"`
	Reason     storedText        `json:"reason,omitempty" doc:"One line of at most 500 bytes: the delivery's last_error."`
}

// acknowledged is the response to an acknowledgement.
type acknowledged struct {
	Delivered int `json:"delivered"`
	Failed    int `json:"failed"`
	Released  int `json:"released"`
	Unchanged int `json:"unchanged" doc:"Deliveries that were final already, or that are not under the request's lease."`
}

func (s *server) pollRoutes() {
	register(s, tenants.needs(tenancy.Consume), huma.Operation{
		OperationID: "poll-webhook", Method: http.MethodGet, Path: "/v1/webhooks/{id}/poll", Summary: "Poll deliveries of a webhook of kind pull",
		Description: fmt.Sprintf("Leases due deliveries to the caller. Concurrent polls never get the same delivery. What is not acknowledged while its lease lasts is due again. "+
			"In strict order, nothing is leased behind a delivery that is leased or waits for its next attempt. A disabled webhook is a 409. "+
			"The quota event_streams also bounds the polls of a tenant that wait in one process, %d by default.", tenancy.DefaultQuota().EventStreams),
	}, s.pollWebhook)
	register(s, tenants.needs(tenancy.Consume).unaudited(), huma.Operation{
		OperationID: "ack-webhook", Method: http.MethodPost, Path: "/v1/webhooks/{id}/ack", Summary: "Acknowledge polled deliveries",
		Description: "All of the request takes effect, or nothing: where one delivery is not the webhook's, it is a 404. A delivery that is final stays as it is, and one in failed or released that is not under the lease, so that a request may be repeated. A request names at most 100 deliveries.",
	}, s.ackWebhook)
}

func (s *server) pollWebhook(ctx context.Context, in *pollInput) (*body[polledList], error) {
	r := subscribers.PollRequest{Limit: in.Limit, Lease: time.Duration(in.Lease) * time.Second}
	list, err := s.store.Poll(ctx, s.nc, tenant(ctx), in.ID, r)
	if err == nil && len(list) == 0 && in.Wait > 0 {
		r.Wait = time.Duration(in.Wait) * time.Second
		list, err = s.waitPolled(ctx, in.ID, r)
	}
	if err != nil {
		return nil, err
	}
	s.metrics.polls.leased(list)
	return reply(showPolled(list)), nil
}

// waitPolled polls with a wait, which ends where the caller's key is revoked or the process stops.
func (s *server) waitPolled(ctx context.Context, webhook events.WebhookID, r subscribers.PollRequest) ([]subscribers.Polled, error) {
	of, limit := tenant(ctx), s.quotaOf(ctx).EventStreams
	if !s.polls.open(of, limit) {
		return nil, s.overQuota("event_streams", http.StatusTooManyRequests, "this tenant may have %d waiting polls in a process", limit)
	}
	defer s.polls.close(of)
	s.metrics.polls.waiting.Inc()
	defer s.metrics.polls.waiting.Dec()
	if s.nc == nil {
		r.Stop = s.stopping
		return s.store.Poll(ctx, nil, of, webhook, r)
	}
	valid, stop, err := s.whileValid(ctx, caller(ctx))
	if err != nil {
		return nil, err
	}
	defer stop()
	waiting, end := context.WithCancel(valid)
	defer end()
	go func() {
		defer end()
		select {
		case <-s.stopping:
		case <-waiting.Done():
		}
	}()
	r.Stop = waiting.Done()
	list, err := s.store.Poll(ctx, s.nc, of, webhook, r)
	if err == nil && len(list) == 0 && valid.Err() != nil && ctx.Err() == nil {
		return nil, tenancy.ErrUnauthenticated
	}
	return list, err
}

func (s *server) ackWebhook(ctx context.Context, in *ackInput) (*body[acknowledged], error) {
	r := subscribers.AckRequest{Delivered: in.Body.Delivered, Lease: in.Body.Lease, Released: in.Body.Released}
	for _, f := range in.Body.Failed {
		r.Failed = append(r.Failed, subscribers.AckFailure{DeliveryID: f.DeliveryID, Reason: string(f.Reason)})
	}
	var out subscribers.AckResult
	err := s.change(ctx, func(u *unit) (err error) {
		out, err = s.store.In(u).Ack(ctx, tenant(ctx), in.ID, r)
		if err != nil {
			return err
		}
		u.then(func() { s.metrics.polls.acknowledged(out) })
		// To release is to change nothing that lasts, and can be done without end.
		u.unchanged = out.Delivered+out.Failed == 0
		if out.Due {
			u.then(func() { s.wakePolls(in.ID) })
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply(acknowledged{Delivered: out.Delivered, Failed: out.Failed, Released: out.Released, Unchanged: out.Unchanged}), nil
}
