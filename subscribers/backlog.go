package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// BacklogCount is the most pending deliveries that [Store.Backlog] counts.
const BacklogCount = 100_000

// Backlog counts the pending deliveries of one webhook. The zero value is an empty
// backlog.
type Backlog struct {
	// Pending counts pending deliveries, those in flight and leased ones included.
	Pending int `json:"pending" doc:"Pending deliveries, including those in flight; at most 100000."`
	// More reports whether there are more than [BacklogCount].
	More bool `json:"more" doc:"There are more pending deliveries than were counted."`
	// Due counts those of them that may be sent now.
	Due int `json:"due" doc:"Those of them that may be sent now."`
	// Oldest is the creation time of the oldest of them; nil if there is none.
	Oldest *time.Time `json:"oldest,omitempty" doc:"The creation time of the oldest of them; absent if there is none."`
	// SecondsLeft is the time in which the lane empties the backlog at its observed
	// rate. It is nil if there is no backlog or no rate.
	SecondsLeft *float64 `json:"seconds_left,omitempty" doc:"The seconds in which the backlog is empty at the observed rate; absent if nothing is pending or nothing is being sent."`
}

// Left sets SecondsLeft from a rate in deliveries a second. A rate of zero leaves it
// as it is.
func (b *Backlog) Left(perSecond float64) {
	if b.Pending > 0 && perSecond > 0 {
		left := float64(b.Pending) / perSecond
		b.SecondsLeft = &left
	}
}

// Each half uses one of the two partial indexes on pending rows.
const countBacklog = `
SELECT count(*), count(*) FILTER (WHERE next_retry_at <= now()), min(created_at) FROM (
	(SELECT next_retry_at, created_at FROM fanmail.webhook_subscriber_deliveries
	 WHERE webhook_id = $1 AND status = 'pending' AND NOT strict AND next_retry_at IS NOT NULL LIMIT $2)
	UNION ALL
	(SELECT next_retry_at, created_at FROM fanmail.webhook_subscriber_deliveries
	 WHERE webhook_id = $1 AND status = 'pending' AND strict LIMIT $2)
) AS p`

// Backlog counts the pending deliveries of a webhook; it leaves SecondsLeft nil. It
// returns [ErrNotFound] if the tenant has no such webhook.
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
