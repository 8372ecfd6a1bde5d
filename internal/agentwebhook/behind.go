package agentwebhook

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

const (
	// LateCount is the most pending deliveries that [CountLate] counts of an agent.
	LateCount = 10_000
	// lateAgents is the most agents with pending deliveries that it reads.
	lateAgents = 200
)

// Late is how far behind the deliveries to an agent's own webhook are.
type Late struct {
	Agent    string
	TenantID events.TenantID
	// Pending counts its pending deliveries, at most [LateCount]. More reports whether
	// there are more.
	Pending int
	More    bool
	// Oldest is the earliest time at which a delivery is or was due, in UTC.
	Oldest time.Time
}

// A loose index scan over the partial index, and a count of the agents that wait longest.
const countLate = `
WITH RECURSIVE found AS (
	(SELECT agent_id, tenant_id, next_retry_at, 1 AS n FROM fanmail.webhook_deliveries
	 WHERE status = 'pending' ORDER BY agent_id, next_retry_at LIMIT 1)
	UNION ALL
	SELECT n.agent_id, n.tenant_id, n.next_retry_at, found.n + 1 FROM found CROSS JOIN LATERAL (
		SELECT agent_id, tenant_id, next_retry_at FROM fanmail.webhook_deliveries
		WHERE status = 'pending' AND agent_id > found.agent_id ORDER BY agent_id, next_retry_at LIMIT 1
	) AS n WHERE found.n < $1
), late AS MATERIALIZED (
	SELECT agent_id, tenant_id, next_retry_at FROM found WHERE next_retry_at <= now() ORDER BY next_retry_at LIMIT $2
)
SELECT late.agent_id, late.tenant_id, late.next_retry_at, c.n FROM late CROSS JOIN LATERAL (
	SELECT count(*) AS n FROM (
		SELECT FROM fanmail.webhook_deliveries WHERE agent_id = late.agent_id AND status = 'pending' ORDER BY next_retry_at LIMIT $3) AS rows
) AS c ORDER BY late.next_retry_at`

// CountLate returns up to limit agents with due deliveries to their own webhooks, those first whose
// deliveries wait longest, among the first 200 agents with pending ones.
func CountLate(ctx context.Context, db pg.DB, limit int) ([]Late, error) {
	rows, err := db.Query(ctx, countLate, lateAgents, limit, LateCount+1)
	if err != nil {
		return nil, fmt.Errorf("count the agents' backlogs: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Late, err error) {
		err = row.Scan(&l.Agent, &l.TenantID, &l.Oldest, &l.Pending)
		if l.Oldest = l.Oldest.UTC(); l.Pending > LateCount {
			l.Pending, l.More = LateCount, true
		}
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("count the agents' backlogs: %w", err)
	}
	return list, nil
}
