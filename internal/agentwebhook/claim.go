package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/outbox"
)

const (
	// claimAgents is the most agents of one claim.
	claimAgents = 32
	// searchAgents is the most agents of one search.
	searchAgents = 500
	// leaseMargin is how long before the end of a lease sending stops. It covers the
	// time from the claim in Postgres until this process reads its clock.
	leaseMargin = 10 * time.Second
)

// claimed is a leased delivery with the data of its POST.
type claimed struct {
	id        events.MessageID
	createdAt time.Time
	tenant    events.TenantID
	agent     string
	attempts  int       // the attempts so far
	lease     time.Time // the end of the lease; also the token for its release
	expired   bool
	since     time.Time // the time of the claim, by this process's monotonic clock

	url      *string // nil: the agent or its webhook was removed
	raw      mailbox.Raw
	envelope []byte // nil: the mail is past its retention
}

// leaseLeft is how much longer data may be sent under the lease.
func (c *claimed) leaseLeft() time.Duration {
	return LeaseDuration - leaseMargin - time.Since(c.since)
}

// leaseValid reports whether data may still be sent under the lease.
func (c *claimed) leaseValid() bool { return c.leaseLeft() > 0 }

const claimColumns = `message_id, created_at, tenant_id, agent_id, attempts, next_retry_at, expires_at <= now() AS expired`

func scanClaimed(row pgx.CollectableRow) (claimed, error) {
	c := claimed{since: time.Now()}
	err := row.Scan(&c.id, &c.createdAt, &c.tenant, &c.agent, &c.attempts, &c.lease, &c.expired)
	return c, err
}

// Reads each agent's earliest due rows by the partial index. SKIP LOCKED: two callers
// never get the same row.
const claimDue = `
WITH due AS MATERIALIZED (
	SELECT d.message_id, d.created_at
	FROM unnest($2::text[], $3::integer[]) AS w (agent_id, room)
	CROSS JOIN LATERAL (
		SELECT message_id, created_at FROM fanmail.webhook_deliveries
		WHERE agent_id = w.agent_id AND status = 'pending' AND next_retry_at <= now()
		ORDER BY next_retry_at LIMIT w.room
		FOR UPDATE SKIP LOCKED
	) AS d
), leased AS (
	UPDATE fanmail.webhook_deliveries AS d SET next_retry_at = now() + make_interval(secs => $1), leased = true
	FROM due WHERE d.message_id = due.message_id AND d.created_at = due.created_at
	RETURNING d.message_id, d.created_at, d.tenant_id, d.agent_id, d.attempts, d.next_retry_at, d.expires_at <= now() AS expired
)
SELECT * FROM leased ORDER BY created_at, message_id`

// claim leases due deliveries of the agents for [LeaseDuration]: of agents[i] at most
// rooms[i]. It is one transaction, so that an error leaves nothing leased.
func claim(ctx context.Context, pool *pgxpool.Pool, agents []string, rooms []int32) (got []claimed, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, claimDue, LeaseDuration.Seconds(), agents, rooms)
		if err != nil {
			return err
		}
		if got, err = pgx.CollectRows(rows, scanClaimed); err != nil {
			return err
		}
		return complete(ctx, tx, got)
	})
	if err != nil {
		return nil, fmt.Errorf("claim deliveries to agents: %w", err)
	}
	return got, nil
}

// complete reads the agents, messages and events of claimed deliveries.
func complete(ctx context.Context, db pg.DB, got []claimed) error {
	if len(got) == 0 {
		return nil
	}
	addresses, ids, created := make([]string, len(got)), make([]events.MessageID, len(got)), make([]time.Time, len(got))
	for i, c := range got {
		addresses[i], ids[i], created[i] = c.agent, c.id, c.createdAt
	}
	agents, messages := make(mailbox.Agents), make(map[events.MessageID]mailbox.Message, len(got))
	b := &pgx.Batch{}
	mailbox.QueueAgents(b, addresses, agents)
	mailbox.QueueFind(b, ids, created, messages)
	if err := db.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("read agents and messages: %w", err)
	}
	var refs outbox.EventRefs
	for _, m := range messages {
		refs.Add(m.EventID, m.CreatedAt)
	}
	payloads, err := outbox.Envelopes(ctx, db, refs)
	if err != nil {
		return err
	}
	for i := range got {
		c := &got[i]
		if a, ok := agents.Of(c.tenant, c.agent); ok {
			c.url = a.WebhookURL
		}
		m := messages[c.id]
		c.raw, c.envelope = m.Raw, payloads[m.EventID].Envelope
	}
	return nil
}

// Inserts a leased delivery of the message, or leases the one that is due.
const claimOne = `
INSERT INTO fanmail.webhook_deliveries AS d (message_id, created_at, tenant_id, agent_id, next_retry_at, leased, expires_at, max_attempts)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), true, $2::timestamptz + make_interval(secs => $6), $7)
ON CONFLICT (message_id, created_at) DO UPDATE SET next_retry_at = excluded.next_retry_at, leased = true
	WHERE d.status = 'pending' AND d.next_retry_at <= now()
RETURNING ` + claimColumns

// claimMessage leases the delivery of one message. If there is none yet, it inserts
// one. With now, a delivery that waits or has failed is made due before. It returns
// [ErrNoDelivery] or [ErrNotDue] if there is nothing to attempt, and with now the errors
// of [Retry] too.
func claimMessage(ctx context.Context, pool *pgxpool.Pool, tenant events.TenantID, id events.MessageID, now bool) (c claimed, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		m, err := mailbox.GetMessage(ctx, tx, tenant, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoDelivery
		}
		if err != nil {
			return err
		}
		if time.Since(m.CreatedAt) >= DeliveryTTL {
			return ErrExpired // the table may have no partition for it
		}
		a, err := mailbox.GetAgent(ctx, tx, tenant, m.AgentID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if a.WebhookURL == nil {
			if now {
				return ErrNoDelivery
			}
			return withoutWebhook(ctx, tx, tenant, id)
		}
		if now {
			if err := makeDue(ctx, tx, tenant, id); err != nil && !errors.Is(err, ErrNoDelivery) {
				return err
			}
		}
		rows, err := tx.Query(ctx, claimOne, m.ID, m.CreatedAt, tenant, m.AgentID, LeaseDuration.Seconds(), DeliveryTTL.Seconds(), retry.MaxAttempts)
		if err != nil {
			return err
		}
		got, err := pgx.CollectRows(rows, scanClaimed)
		if err != nil {
			return err
		}
		if len(got) == 0 {
			return ErrNotDue
		}
		err = complete(ctx, tx, got)
		c = got[0]
		return err
	})
	if err != nil && !refusal(err) {
		err = fmt.Errorf("claim the delivery of message %s: %w", id, err)
	}
	return c, err
}

// withoutWebhook returns the reason why a message whose agent has no webhook can't be
// claimed.
func withoutWebhook(ctx context.Context, db pg.DB, tenant events.TenantID, id events.MessageID) error {
	var exists bool
	err := db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.webhook_deliveries WHERE tenant_id IS NOT DISTINCT FROM $1 AND message_id = $2)`, tenant, id).Scan(&exists)
	switch {
	case err != nil:
		return fmt.Errorf("look up the delivery of message %s: %w", id, err)
	case exists:
		return ErrNotDue
	}
	return ErrNoDelivery
}

// A loose index scan over the partial index: one descent for each agent, however many
// deliveries wait for it.
const waitingAgents = `
WITH RECURSIVE found AS (
	(SELECT agent_id, next_retry_at FROM fanmail.webhook_deliveries
	 WHERE status = 'pending' AND agent_id > $1 ORDER BY agent_id, next_retry_at LIMIT 1)
	UNION ALL
	SELECT n.agent_id, n.next_retry_at FROM found CROSS JOIN LATERAL (
		SELECT agent_id, next_retry_at FROM fanmail.webhook_deliveries
		WHERE status = 'pending' AND agent_id > found.agent_id ORDER BY agent_id, next_retry_at LIMIT 1
	) AS n
)
SELECT agent_id, next_retry_at <= now() FROM found LIMIT $2`

// waiting reads at most limit agents with pending deliveries after an address, in the
// order of addresses. It returns the agents with due deliveries, and the last agent
// that it read, or "" if there are no more.
func waiting(ctx context.Context, db pg.DB, after string, limit int) (due []string, last string, err error) {
	rows, err := db.Query(ctx, waitingAgents, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("search for due deliveries to agents: %w", err)
	}
	var agent string
	var isDue bool
	seen := 0
	_, err = pgx.ForEachRow(rows, []any{&agent, &isDue}, func() error {
		if seen++; isDue {
			due = append(due, agent)
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("search for due deliveries to agents: %w", err)
	}
	if seen < limit {
		return due, "", nil
	}
	return due, agent, nil
}
