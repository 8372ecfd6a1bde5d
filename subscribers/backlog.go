package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// BacklogCount is how many pending deliveries [Store.Backlog] counts at most.
const BacklogCount = 100_000

// Backlog is how far a webhook is behind.
type Backlog struct {
	// Pending deliveries, those in flight and those leased included; More says
	// that there are more than [BacklogCount].
	Pending int  `json:"pending"`
	More    bool `json:"more"`
	// Due are those of them that could be sent now.
	Due int `json:"due"`
	// Oldest is the creation time of the oldest counted; absent where none is.
	Oldest *time.Time `json:"oldest,omitempty"`
	// SecondsLeft is the time to the end of the backlog at the present pace;
	// absent where there is none, or no pace.
	SecondsLeft *float64 `json:"seconds_left,omitempty"`
}

// Left sets SecondsLeft for a rate in deliveries a second.
func (b *Backlog) Left(perSecond float64) {
	if b.Pending > 0 && perSecond > 0 {
		left := float64(b.Pending) / perSecond
		b.SecondsLeft = &left
	}
}

// Both halves go by the partial indexes of what is pending.
const countBacklog = `
SELECT count(*), count(*) FILTER (WHERE next_retry_at <= now()), min(created_at) FROM (
	(SELECT next_retry_at, created_at FROM fanmail.webhook_subscriber_deliveries
	 WHERE webhook_id = $1 AND status = 'pending' AND NOT strict AND next_retry_at IS NOT NULL LIMIT $2)
	UNION ALL
	(SELECT next_retry_at, created_at FROM fanmail.webhook_subscriber_deliveries
	 WHERE webhook_id = $1 AND status = 'pending' AND strict LIMIT $2)
) AS p`

// Backlog counts what waits for a webhook. It returns [ErrNotFound] where the
// tenant has no such webhook.
func (s *Store) Backlog(ctx context.Context, tenant events.TenantID, webhook events.WebhookID) (Backlog, error) {
	var b Backlog
	if _, err := s.Get(ctx, tenant, webhook); err != nil {
		return b, err
	}
	rows, err := s.db.Query(ctx, countBacklog, webhook, BacklogCount+1)
	if err != nil {
		return b, fmt.Errorf("count a backlog: %w", err)
	}
	b, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (b Backlog, err error) {
		err = row.Scan(&b.Pending, &b.Due, &b.Oldest)
		return b, err
	})
	if err != nil {
		return b, fmt.Errorf("count a backlog: %w", err)
	}
	b.Oldest = utc(b.Oldest)
	if b.Pending > BacklogCount {
		b.Pending, b.More = BacklogCount, true
	}
	return b, nil
}
