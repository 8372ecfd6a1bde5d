package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// MaxWaiting is the most events that [Waiting] counts.
const MaxWaiting = 10_000

// Waiting says how many of a tenant's events are not fanned out yet, at most
// [MaxWaiting], and when the oldest of them was made; zero where none waits.
func Waiting(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, tenant events.TenantID,
) (n int, oldest time.Time, err error) {
	var at *time.Time
	err = db.QueryRow(ctx, `SELECT count(*), min(created_at) FROM (
		SELECT created_at FROM fanmail.outbox WHERE tenant_id = $1 ORDER BY seq LIMIT $2) AS waiting`, tenant, MaxWaiting).Scan(&n, &at)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("count waiting events: %w", err)
	}
	if at != nil {
		oldest = at.UTC()
	}
	return n, oldest, nil
}
