package agentwebhook

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retry"
)

const (
	// DeliveryTTL is how long after the accepting of its mail a delivery may be
	// attempted.
	DeliveryTTL = 48 * time.Hour
	// LeaseDuration is how long a claim hides a delivery from other deliverers.
	LeaseDuration = 5 * time.Minute
)

const insertDeliveries = `
INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, next_retry_at, expires_at, max_attempts)
SELECT m.id, coalesce($2, now()), m.tenant_id, m.agent_id, now(), coalesce($2, now()) + make_interval(secs => $5), $6
FROM unnest($1::uuid[], $3::uuid[], $4::text[]) AS m (id, tenant_id, agent_id)
WHERE ` + pg.GateOpen + `
ON CONFLICT DO NOTHING`

// QueueDeliver adds an INSERT to a batch: one delivery for each message, due at once.
// Pass only messages whose agent has a webhook. at is the creation time of all the
// messages; zero is the transaction's time. It adds nothing if there are no messages.
// Nothing is inserted behind a closed gate; see [pg.GateOpen].
func QueueDeliver(b *pgx.Batch, at time.Time, messages []mailbox.Message) {
	if len(messages) == 0 {
		return
	}
	ids, tenants, agents := make([]events.MessageID, len(messages)), make([]events.TenantID, len(messages)), make([]string, len(messages))
	for i, m := range messages {
		ids[i], tenants[i], agents[i] = m.ID, m.TenantID, m.AgentID
	}
	b.Queue(insertDeliveries, ids, pgtype.Timestamptz{Time: at, Valid: !at.IsZero()}, tenants, agents, DeliveryTTL.Seconds(), retry.MaxAttempts)
}

// Wake sends the deliverers a hint that an agent has due deliveries. It does nothing
// if nc is nil. If the hint is lost, the search finds the deliveries within a second.
func Wake(nc *nats.Conn, agent string) {
	if nc != nil {
		_ = nc.Publish(events.WakeAgents, []byte(agent))
	}
}
