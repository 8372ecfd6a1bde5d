package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// The constants of a delivery's life.
const (
	// DeliveryTTL is how long a delivery is tried (the seed's DeliveryTTL).
	DeliveryTTL = 48 * time.Hour
	// LeaseDuration is how long a claimed delivery is hidden from the others
	// (the seed's LeaseDuration).
	LeaseDuration = 5 * time.Minute
)

// DB is what statements are run on: a pool, a connection, or a transaction to
// join.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

const insertDeliveries = `
INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, next_retry_at, expires_at, max_attempts)
SELECT m.id, $2::timestamptz, m.tenant_id, m.agent_id, now(), $2::timestamptz + make_interval(secs => $5), $6
FROM unnest($1::uuid[], $3::uuid[], $4::text[]) AS m (id, tenant_id, agent_id)
JOIN fanmail.agents AS a ON a.address = m.agent_id AND a.tenant_id = m.tenant_id
WHERE a.webhook_url IS NOT NULL
ON CONFLICT DO NOTHING`

// QueueDeliver adds to a batch the birth of a delivery for each of the messages
// whose agent has a webhook, due at once. The messages are given column by
// column; at is the creation time of all. counted is told how many were born.
func QueueDeliver(b *pgx.Batch, at time.Time, ids []events.MessageID, tenants []events.TenantID, agents []string, counted func(int)) {
	b.Queue(insertDeliveries, ids, at, tenants, agents, DeliveryTTL.Seconds(), attempt.MaxAttempts).Exec(func(tag pgconn.CommandTag) error {
		counted(int(tag.RowsAffected()))
		return nil
	})
}

// Wake hints to the deliverers that an agent has deliveries. nc may be nil.
func Wake(nc *nats.Conn, agent string) {
	if nc != nil {
		_ = nc.Publish(events.WakeAgents, []byte(agent)) // they search anyway
	}
}

// claimed is a delivery in the hands of a deliverer, with what a POST needs.
type claimed struct {
	id        events.MessageID
	createdAt time.Time
	agent     string
	attempts  int       // made so far
	lease     time.Time // when it ends; also the token for giving it back
	expired   bool
	url       *string // nil: the agent has none any more
	raw       raw
	envelope  []byte // nil: the mail is no longer kept

	since time.Time // when it was claimed, by this process's monotonic clock
}

const claimColumns = `message_id, created_at, tenant_id, agent_id, attempts, next_retry_at, expires_at <= now() AS expired`

// What is claimed is read with its agent, its message and the event, each by
// its key.
const claimTail = `
SELECT l.message_id, l.created_at, l.agent_id, l.attempts, l.next_retry_at, l.expired, a.webhook_url, m.raw_id, coalesce(m.raw_size, 0), e.envelope
FROM leased AS l
LEFT JOIN fanmail.agents AS a ON a.address = l.agent_id AND a.tenant_id = l.tenant_id
LEFT JOIN LATERAL (SELECT event_id, raw_id, raw_size FROM fanmail.messages WHERE id = l.message_id AND created_at = l.created_at) AS m ON true
LEFT JOIN LATERAL (SELECT envelope FROM fanmail.events WHERE id = m.event_id AND created_at = l.created_at) AS e ON true
ORDER BY l.created_at, l.message_id`

// Each agent's earliest due rows by the partial index; two callers never get
// the same one.
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
	UPDATE fanmail.webhook_deliveries AS d SET next_retry_at = now() + make_interval(secs => $1)
	FROM due WHERE d.message_id = due.message_id AND d.created_at = due.created_at
	RETURNING d.message_id, d.created_at, d.tenant_id, d.agent_id, d.attempts, d.next_retry_at, d.expires_at <= now() AS expired
)` + claimTail

// claim leases due deliveries of the agents, at most as many of each as there
// is room for, for [LeaseDuration].
func claim(ctx context.Context, db DB, agents []string, rooms []int32) ([]claimed, error) {
	rows, err := db.Query(ctx, claimDue, LeaseDuration.Seconds(), agents, rooms)
	if err != nil {
		return nil, fmt.Errorf("claim deliveries to agents: %w", err)
	}
	got, err := pgx.CollectRows(rows, scanClaimed)
	if err != nil {
		return nil, fmt.Errorf("claim deliveries to agents: %w", err)
	}
	return got, nil
}

func scanClaimed(row pgx.CollectableRow) (claimed, error) {
	c := claimed{since: time.Now()}
	var rawID pgtype.UUID
	err := row.Scan(&c.id, &c.createdAt, &c.agent, &c.attempts, &c.lease, &c.expired, &c.url, &rawID, &c.raw.size, &c.envelope)
	c.raw.id, c.raw.createdAt = rawID.Bytes, c.createdAt
	return c, err
}

// A delivery of the message is born leased, or its due one is leased.
const claimOne = `
WITH leased AS (
	INSERT INTO fanmail.webhook_deliveries AS d (message_id, created_at, tenant_id, agent_id, next_retry_at, expires_at, max_attempts)
	SELECT m.id, m.created_at, m.tenant_id, m.agent_id, now() + make_interval(secs => $3), m.created_at + make_interval(secs => $4), $5
	FROM fanmail.messages AS m JOIN fanmail.agents AS a ON a.address = m.agent_id AND a.tenant_id = m.tenant_id
	WHERE m.id = $2 AND m.tenant_id = $1 AND a.webhook_url IS NOT NULL
	ON CONFLICT (message_id, created_at) DO UPDATE SET next_retry_at = excluded.next_retry_at
		WHERE d.status = 'pending' AND d.next_retry_at <= now()
	RETURNING ` + claimColumns + `
)` + claimTail

// claimMessage leases the delivery of one message, which it makes where there
// is none yet. ok is false where it is final, or not due, or where the tenant
// has no such message, or its agent no webhook.
func claimMessage(ctx context.Context, db DB, tenant events.TenantID, id events.MessageID) (c claimed, ok bool, err error) {
	rows, err := db.Query(ctx, claimOne, tenant, id, LeaseDuration.Seconds(), DeliveryTTL.Seconds(), attempt.MaxAttempts)
	if err != nil {
		return c, false, fmt.Errorf("claim a message's delivery: %w", err)
	}
	c, err = pgx.CollectExactlyOneRow(rows, scanClaimed)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("claim a message's delivery: %w", err)
	}
	return c, true, nil
}

// exists says whether a message has a delivery.
func exists(ctx context.Context, db DB, tenant events.TenantID, id events.MessageID) (have bool, err error) {
	err = db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.webhook_deliveries WHERE tenant_id = $1 AND message_id = $2)`, tenant, id).Scan(&have)
	if err != nil {
		return false, fmt.Errorf("look for a message's delivery: %w", err)
	}
	return have, nil
}

// A loose scan over the partial index: from one agent to the next, one descent
// each, however many deliveries an agent waits for.
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

// waiting gives the agents after one, by address, that have due deliveries,
// and the last agent that was looked at; "" when there are no more. It looks at
// no more than limit.
func waiting(ctx context.Context, db DB, after string, limit int) (due []string, last string, err error) {
	rows, err := db.Query(ctx, waitingAgents, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("look for agents' due deliveries: %w", err)
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
		return nil, "", fmt.Errorf("look for agents' due deliveries: %w", err)
	}
	if seen < limit {
		return due, "", nil
	}
	return due, agent, nil
}
