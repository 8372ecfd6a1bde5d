package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxDelivering is how many messages one tenant may have delivered on request at the same time, in each process.
const maxDelivering = 8

// AgentDelivery is a mail for its agent's own webhook.
type AgentDelivery struct {
	AgentID       string           `json:"agent_id" example:"support@example.com"`
	MessageID     events.MessageID `json:"message_id"`
	Status        string           `json:"status" enum:"pending,delivered,failed"`
	Attempts      int              `json:"attempts" doc:"The number of attempts so far."`
	MaxAttempts   int              `json:"max_attempts"`
	LastError     string           `json:"last_error" doc:"Empty for none."`
	LastAttemptAt *time.Time       `json:"last_attempt_at,omitempty" doc:"Absent before the first attempt."`
	NextRetryAt   *time.Time       `json:"next_retry_at" doc:"When the delivery is due again; null once it is final."`
	CreatedAt     time.Time        `json:"created_at" doc:"When the mail was accepted."`
	ExpiresAt     time.Time        `json:"expires_at" doc:"A delivery that is still pending then becomes failed."`
}

func showAgentDelivery(d agentwebhook.Delivery) AgentDelivery { return AgentDelivery(d) }

// messageDelivered is the response of POST /v1/messages/{id}/deliver.
type messageDelivered struct {
	Success    bool          `json:"success" doc:"The endpoint answered 2xx."`
	StatusCode int           `json:"status_code" doc:"The endpoint's answer; 0: no response arrived."`
	Error      *string       `json:"error" doc:"null for a success."`
	Delivery   AgentDelivery `json:"delivery" doc:"The delivery with this attempt."`
}

type agentDeliveryQuery struct {
	Paging
	AgentPath
	Status string `query:"status" enum:"pending,delivered,failed"`
}

// messageAction is a request without a body about one message.
type messageAction struct {
	ID   events.MessageID `path:"id"`
	Body *nothing
}

func (s *server) agentDeliveryRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "list-agent-deliveries", Method: http.MethodGet, Path: "/v1/agents/{address}/deliveries",
		Summary: "List the deliveries to an agent's own webhook", Description: scanNote + " They are kept for three days.",
	}, s.listAgentDeliveries)
	register(s, tenants.needs(tenancy.Redeliver), huma.Operation{
		OperationID: "retry-message", Method: http.MethodPost, Path: "/v1/messages/{id}/retry",
		Summary: "Retry the delivery of a message to its agent's own webhook",
		Description: "The delivery is due now; a dispatcher attempts it. A failed one gets as many attempts as a new one. A delivery that succeeded, " +
			"whose 48 hours are over, or whose attempt is in flight, is a 409. So is one of a failed delivery that would have more than " +
			fmt.Sprintf("%d attempts, and a message without a delivery.", retry.Most),
	}, s.retryMessage)
	register(s, tenants.needs(tenancy.Redeliver), huma.Operation{
		OperationID: "deliver-message", Method: http.MethodPost, Path: "/v1/messages/{id}/deliver",
		Summary: "Deliver a message to its agent's own webhook now, and wait for the outcome",
		Description: fmt.Sprintf("A dispatcher makes one attempt, of at most %.0f s, and records it. The answer is 200 whatever the endpoint says; `success` has the outcome. "+
			"After a failure the delivery is attempted again as usual. It is a 409 in the cases of a retry, but a message without a delivery gets one. "+
			"It is a 503 where no dispatcher is free. One tenant delivers at most %d messages at the same time; one more is a 429.",
			agentwebhook.AttemptTimeout.Seconds(), maxDelivering),
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}, s.deliverMessage)
}

func (s *server) listAgentDeliveries(ctx context.Context, in *agentDeliveryQuery) (*body[list[AgentDelivery]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	a, err := mailbox.GetAgent(ctx, s.pool, tenant(ctx), mailbox.Fold(string(in.Address)))
	if err != nil {
		return nil, err // no rows: 404
	}
	found, end, err := agentwebhook.List(ctx, s.pool, tenant(ctx), a.Address, in.Status, agentwebhook.Place{CreatedAt: after.CreatedAt, ID: after.ID}, in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(d agentwebhook.Delivery) (time.Time, [16]byte) { return d.CreatedAt, d.MessageID }
	return pageTo(&in.Paging, found, subscribers.Place{CreatedAt: end.CreatedAt, ID: end.ID}, place, showAgentDelivery), nil
}

// deliveryOfMessage returns the delivery of a message to its agent's own webhook; nil for none.
func (s *server) deliveryOfMessage(ctx context.Context, id events.MessageID) (*AgentDelivery, error) {
	d, err := agentwebhook.Get(ctx, s.pool, tenant(ctx), id)
	if errors.Is(err, agentwebhook.ErrNoDelivery) {
		return nil, nil //nolint:nilnil // most messages have none, which is no error
	}
	if err != nil {
		return nil, err
	}
	shown := showAgentDelivery(d)
	return &shown, nil
}

func (s *server) retryMessage(ctx context.Context, in *messageAction) (*body[AgentDelivery], error) {
	var d agentwebhook.Delivery
	err := s.change(ctx, func(u *unit) (err error) {
		if _, err := mailbox.GetMessage(ctx, u, tenant(ctx), in.ID); err != nil {
			return err // no rows: 404
		}
		d, err = agentwebhook.Retry(ctx, u, tenant(ctx), in.ID)
		u.became(showAgentDelivery(d))
		u.then(func() { agentwebhook.Wake(s.nc, d.AgentID) })
		return err
	})
	if err != nil {
		return nil, undelivered(err)
	}
	return reply(showAgentDelivery(d)), nil
}

func (s *server) deliverMessage(ctx context.Context, in *messageAction) (*body[messageDelivered], error) {
	if _, err := mailbox.GetMessage(ctx, s.pool, tenant(ctx), in.ID); err != nil {
		return nil, err // no rows: 404
	}
	if !s.delivering.open(tenant(ctx), maxDelivering) {
		return nil, problem(http.StatusTooManyRequests, "%d messages of this tenant are being delivered on request already, which is the limit", maxDelivering)
	}
	defer s.delivering.close(tenant(ctx))
	if err := s.announce(ctx); err != nil {
		return nil, err
	}
	o, err := agentwebhook.Ask(ctx, s.nc, tenant(ctx), in.ID)
	if err != nil {
		return nil, undelivered(err)
	}
	d, err := agentwebhook.Get(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, undelivered(err)
	}
	return reply(messageDelivered{Success: o.Success, StatusCode: o.StatusCode, Error: text(o.Error), Delivery: showAgentDelivery(d)}), nil
}

// undelivered turns the reason why a message was not delivered into an answer.
func undelivered(err error) error {
	switch {
	case errors.Is(err, agentwebhook.ErrNoDelivery):
		return problem(http.StatusConflict, "the message has no delivery: its agent has no webhook of its own, or had none when the message came")
	case errors.Is(err, agentwebhook.ErrDelivered), errors.Is(err, agentwebhook.ErrExpired), errors.Is(err, agentwebhook.ErrInFlight), errors.Is(err, agentwebhook.ErrNotDue),
		errors.Is(err, agentwebhook.ErrAttempts):
		return problem(http.StatusConflict, "%s", err)
	case errors.Is(err, agentwebhook.ErrBusy):
		return huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, "%s; try again", agentwebhook.ErrBusy), http.Header{"Retry-After": {"1"}})
	}
	return err
}
