package agentwebhook

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Imported is a delivery of another system to an agent's own webhook.
type Imported struct {
	MessageID   events.MessageID
	CreatedAt   time.Time // the message's here
	TenantID    events.TenantID
	AgentID     string
	Status      string // "pending", "delivered" or "failed"
	Attempts    int
	MaxAttempts int
	LastError   string // "" for none
	LastAttempt *time.Time
	NextRetry   time.Time // of a pending one
	ExpiresAt   time.Time
}

const importDeliveries = `
INSERT INTO fanmail.webhook_deliveries AS d (message_id, created_at, tenant_id, agent_id, status, attempts, max_attempts, last_error, last_attempt_at,
	next_retry_at, expires_at, finished_at)
SELECT message_id, created_at, tenant_id, agent_id, status, attempts, max_attempts, nullif(last_error, ''), last_attempt_at,
	CASE WHEN status = 'pending' THEN next_retry_at END, expires_at, CASE WHEN status <> 'pending' THEN coalesce(last_attempt_at, created_at) END
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::smallint[], $7::smallint[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[])
	AS t (message_id, created_at, tenant_id, agent_id, status, attempts, max_attempts, last_error, last_attempt_at, next_retry_at, expires_at)
ON CONFLICT (message_id, created_at) DO UPDATE SET status = excluded.status, attempts = excluded.attempts, last_error = excluded.last_error,
	last_attempt_at = excluded.last_attempt_at, next_retry_at = NULL, finished_at = excluded.finished_at
	WHERE d.status = 'pending' AND excluded.status <> 'pending' AND d.attempts <= excluded.attempts AND excluded.last_error IS DISTINCT FROM 'taken over by Fanmail'
RETURNING d.message_id`

// Import inserts deliveries, and returns how many are new or have ended since. A pending row ends as the given one has,
// unless it has had more attempts here. Other rows that exist stay as they are.
func Import(ctx context.Context, db pg.DB, list []Imported) (changed int, err error) {
	n := len(list)
	ids, created, tenants := make([]events.MessageID, n), make([]time.Time, n), make([]events.TenantID, n)
	agents, status, lastErrors := make([]string, n), make([]string, n), make([]string, n)
	attempts, most := make([]int16, n), make([]int16, n)
	last, next, expires := make([]*time.Time, n), make([]time.Time, n), make([]time.Time, n)
	for i := range list {
		d := &list[i]
		ids[i], created[i], tenants[i], agents[i] = d.MessageID, d.CreatedAt, d.TenantID, d.AgentID
		status[i], lastErrors[i], last[i], next[i], expires[i] = d.Status, d.LastError, d.LastAttempt, d.NextRetry, d.ExpiresAt
		attempts[i], most[i] = int16(d.Attempts), int16(d.MaxAttempts) //nolint:gosec // small
	}
	rows, err := db.Query(ctx, importDeliveries, ids, created, tenants, agents, status, attempts, most, lastErrors, last, next, expires)
	if err != nil {
		return 0, fmt.Errorf("import deliveries to agents: %w", err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[events.MessageID])
	if err != nil {
		return 0, fmt.Errorf("import deliveries to agents: %w", err)
	}
	return len(got), nil
}

// CountStates returns how many of the deliveries exist, by status.
func CountStates(ctx context.Context, db pg.DB, ids []events.MessageID, created []time.Time) (map[string]int64, error) {
	rows, err := db.Query(ctx, `SELECT d.status, count(*) FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
		CROSS JOIN LATERAL (SELECT status FROM fanmail.webhook_deliveries WHERE message_id = w.id AND created_at = w.created_at) AS d GROUP BY d.status`, ids, created)
	if err != nil {
		return nil, fmt.Errorf("count deliveries to agents: %w", err)
	}
	counts := map[string]int64{}
	var status string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&status, &n}, func() error { counts[status] = n; return nil }); err != nil {
		return nil, fmt.Errorf("count deliveries to agents: %w", err)
	}
	return counts, nil
}
