package agentwebhook

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

const (
	// DeliveryTTL is how long a delivery is tried after its mail was accepted.
	DeliveryTTL = 48 * time.Hour
	// LeaseDuration is how long a claimed delivery is hidden from other
	// deliverers.
	LeaseDuration = 5 * time.Minute
)

const insertDeliveries = `
INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, next_retry_at, expires_at, max_attempts)
SELECT m.id, $2::timestamptz, m.tenant_id, m.agent_id, now(), $2::timestamptz + make_interval(secs => $5), $6
FROM unnest($1::uuid[], $3::uuid[], $4::text[]) AS m (id, tenant_id, agent_id)
ON CONFLICT DO NOTHING`

// QueueDeliver adds to a batch the insertion of a delivery for each message, due
// at once. The caller passes only messages whose agent has a webhook. at is the
// creation time of all. Nothing is added if there are no messages.
func QueueDeliver(b *pgx.Batch, at time.Time, messages []mailbox.Message) {
	if len(messages) == 0 {
		return
	}
	ids, tenants, agents := make([]events.MessageID, len(messages)), make([]events.TenantID, len(messages)), make([]string, len(messages))
	for i, m := range messages {
		ids[i], tenants[i], agents[i] = m.ID, m.TenantID, m.AgentID
	}
	b.Queue(insertDeliveries, ids, at, tenants, agents, DeliveryTTL.Seconds(), attempt.MaxAttempts)
}

// Wake hints to the deliverers that an agent has due deliveries. nc may be nil.
// A lost hint costs a second: the deliverers search as well.
func Wake(nc *nats.Conn, agent string) {
	if nc != nil {
		_ = nc.Publish(events.WakeAgents, []byte(agent))
	}
}
