package fanmail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// deliverConns is the most connections that DeliverMessage opens: for the row, and for the raw mail.
const deliverConns = 2

// AgentDelivery is the delivery of one mail to its agent's own webhook. All times are in UTC.
type AgentDelivery struct {
	AgentID       string     `json:"agent_id"` // the agent's address
	MessageID     MessageID  `json:"message_id"`
	Status        string     `json:"status"`   // "pending", "delivered" or "failed"
	Attempts      int        `json:"attempts"` // made so far
	MaxAttempts   int        `json:"max_attempts"`
	LastError     string     `json:"last_error"`                // one line; "" for none
	LastAttemptAt *time.Time `json:"last_attempt_at,omitempty"` // nil before the first attempt
	NextRetryAt   *time.Time `json:"next_retry_at"`             // nil unless pending
	CreatedAt     time.Time  `json:"created_at"`                // when the mail was accepted
	ExpiresAt     time.Time  `json:"expires_at"`                // 48 hours later
}

// DeliveryOutcome is the result of one POST.
type DeliveryOutcome struct {
	Success    bool   // the endpoint answered 2xx
	StatusCode int    // 0: no answer came
	Error      string // one line; "" for a success
}

// ListAgentDeliveries returns up to limit deliveries to an agent's own webhook after a cursor, newest first, and the cursor
// of the next page. status is "pending", "delivered" or "failed"; "" selects all. One call reads a bounded part of the
// history: with a status, a page may have fewer rows than limit, or none, before the list's end. Only a zero cursor is
// the end. Deliveries are kept for three days. It returns [ErrNotFound] if the tenant has no such agent, and a
// [*FieldError] for another status.
func (c *Client) ListAgentDeliveries(ctx context.Context, tenant TenantID, address, status string, after Cursor, limit int) ([]AgentDelivery, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	a, err := mailbox.GetAgent(ctx, c.db, tenant, mailbox.Fold(address))
	if err != nil {
		return nil, Cursor{}, notFound(err)
	}
	found, end, err := agentwebhook.List(ctx, c.db, tenant, a.Address, status, agentwebhook.Place{CreatedAt: after.CreatedAt, ID: after.ID}, limit+1)
	if err != nil {
		return nil, Cursor{}, err
	}
	next := Cursor{CreatedAt: end.CreatedAt, ID: end.ID}
	if len(found) > limit {
		found, next = cut(found, limit, func(d agentwebhook.Delivery) Cursor { return Cursor{CreatedAt: d.CreatedAt, ID: d.MessageID} })
	}
	out := make([]AgentDelivery, len(found))
	for i, d := range found {
		out[i] = AgentDelivery(d)
	}
	return out, next, nil
}

// GetMessageDelivery returns the delivery of a message to its agent's own webhook. It returns [ErrNotFound] if there is
// none: the agent had no webhook of its own, or the delivery is over three days old.
func (c *Client) GetMessageDelivery(ctx context.Context, tenant TenantID, message MessageID) (AgentDelivery, error) {
	if err := c.ready(); err != nil {
		return AgentDelivery{}, err
	}
	d, err := agentwebhook.Get(ctx, c.db, tenant, message)
	return AgentDelivery(d), undelivered(err)
}

// RetryMessage makes a delivery to an agent's own webhook that waits or has failed due now. A failed one gets as many
// attempts as a new one. It returns [ErrNotFound], [ErrDelivered], [ErrExpired], [ErrInFlight] or [ErrAttempts].
func (c *Client) RetryMessage(ctx context.Context, tenant TenantID, message MessageID) (AgentDelivery, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return AgentDelivery{}, err
	}
	var d agentwebhook.Delivery
	err := pgx.BeginFunc(ctx, c.db, func(tx pgx.Tx) (err error) {
		d, err = agentwebhook.Retry(ctx, tx, tenant, message)
		return err
	})
	if err != nil {
		return AgentDelivery{}, undelivered(err)
	}
	agentwebhook.Wake(c.nc, d.AgentID)
	return AgentDelivery(d), nil
}

// DeliverMessage delivers a message to its agent's own webhook now, in this process, and returns the outcome, which is
// recorded. After a failure the delivery is attempted again as usual. A message without a delivery gets one. It returns
// [ErrNotFound] if there is no such message, or if its agent has no webhook of its own, and [ErrDelivered], [ErrExpired],
// [ErrInFlight] or [ErrAttempts]. It opens connections of its own to the database.
func (c *Client) DeliverMessage(ctx context.Context, tenant TenantID, message MessageID) (DeliveryOutcome, error) {
	if err := c.ready(); err != nil {
		return DeliveryOutcome{}, err
	}
	pool, err := engine.Pool(ctx, c.pool, deliverConns)
	if err != nil {
		return DeliveryOutcome{}, fmt.Errorf("fanmail: %w", err)
	}
	defer pool.Close()
	d := engine.Agents(pool, nil, c.options())
	defer d.Close()
	r, err := d.DeliverNow(ctx, tenant, message)
	if err != nil {
		return DeliveryOutcome{}, undelivered(err)
	}
	return DeliveryOutcome{Success: r.Delivered, StatusCode: r.StatusCode, Error: r.Error}, nil
}

// undelivered replaces the reasons why a message is not delivered by the client's errors.
func undelivered(err error) error {
	for from, to := range map[error]error{
		agentwebhook.ErrNoDelivery: ErrNotFound, agentwebhook.ErrDelivered: ErrDelivered, agentwebhook.ErrExpired: ErrExpired,
		agentwebhook.ErrInFlight: ErrInFlight, agentwebhook.ErrNotDue: ErrInFlight, agentwebhook.ErrAttempts: ErrAttempts,
	} {
		if errors.Is(err, from) {
			return to
		}
	}
	return err
}
