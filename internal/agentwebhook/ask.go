package agentwebhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// maxAsked is how many attempts on request one process makes at the same time.
	maxAsked = 64
	// askTimeout is how long [Ask] waits: an attempt, and its claim and its outcome.
	askTimeout = AttemptTimeout + 15*time.Second
	// askGroup makes one deliverer answer each request.
	askGroup = "agents"
)

// ErrBusy means that no deliverer can make the attempt now. Ask again after a second.
var ErrBusy = errors.New("no dispatcher can deliver the message now")

// Outcome is the result of one attempt.
type Outcome struct {
	Success    bool   `json:"success"`
	StatusCode int    `json:"status_code"` // 0: no response arrived
	Error      string `json:"error"`       // one line; "" for a success
}

// askedRequest asks for an attempt.
type askedRequest struct {
	TenantID  events.TenantID  `json:"tenant_id"`
	MessageID events.MessageID `json:"message_id"`
}

// askedAnswer has the outcome, or the reason why there was no attempt.
type askedAnswer struct {
	Outcome
	Refused string `json:"refused,omitempty"`
}

// The reasons of a refusal, by their text in an answer.
var refusals = map[string]error{
	"no_delivery": ErrNoDelivery, "not_due": ErrNotDue, "delivered": ErrDelivered, "expired": ErrExpired, "in_flight": ErrInFlight, "attempts": ErrAttempts, "busy": ErrBusy,
}

// Ask has a deliverer attempt the delivery of a message now, and returns the outcome, which is recorded. The process that
// asks needs no way to the endpoint. It returns the errors of [Deliverer.DeliverNow], and an error that wraps [ErrBusy]
// if nobody answers or nc is nil. If ctx ends first, the attempt goes on.
func Ask(ctx context.Context, nc *nats.Conn, tenant events.TenantID, message events.MessageID) (Outcome, error) {
	if nc == nil {
		return Outcome{}, fmt.Errorf("%w: there is no broker", ErrBusy)
	}
	body, err := json.Marshal(askedRequest{TenantID: tenant, MessageID: message})
	if err != nil {
		return Outcome{}, fmt.Errorf("ask for the delivery of message %s: %w", message, err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, events.AskDeliver, body)
	if err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	var a askedAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return Outcome{}, fmt.Errorf("ask for the delivery of message %s: %w", message, err)
	}
	if a.Refused != "" {
		if err, known := refusals[a.Refused]; known {
			return Outcome{}, err
		}
		return Outcome{}, fmt.Errorf("%w: %s", ErrBusy, a.Refused)
	}
	return a.Outcome, nil
}

// serveAsked answers requests of [Ask] until ctx ends. Attempts may go on under their own context.
func (d *Deliverer) serveAsked(ctx, attemptCtx context.Context, requests <-chan *nats.Msg) {
	slots := make(chan struct{}, maxAsked)
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-requests:
			select {
			case slots <- struct{}{}:
			default:
				d.respond(m, askedAnswer{Refused: "busy"})
				continue
			}
			d.working.Go(func() {
				defer func() { <-slots }()
				d.respond(m, d.asked(attemptCtx, m.Data))
			})
		}
	}
}

// asked makes the attempt of a request.
func (d *Deliverer) asked(ctx context.Context, body []byte) askedAnswer {
	var q askedRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return askedAnswer{Refused: "the request can't be read"}
	}
	r, err := d.DeliverNow(ctx, q.TenantID, q.MessageID)
	if err == nil && r.Stopped() {
		return askedAnswer{Refused: "busy"} // this process stops; the delivery is due at once
	}
	if err == nil {
		return askedAnswer{Outcome: Outcome{Success: r.Delivered, StatusCode: r.StatusCode, Error: r.Error}}
	}
	for name, refused := range refusals {
		if errors.Is(err, refused) {
			return askedAnswer{Refused: name}
		}
	}
	d.log.Warn("a delivery on request failed", zap.Stringer("message_id", q.MessageID), zap.Error(err))
	return askedAnswer{Refused: "busy"}
}

func (d *Deliverer) respond(m *nats.Msg, a askedAnswer) {
	if body, err := json.Marshal(a); err == nil {
		_ = m.Respond(body)
	}
}
