package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// lease is how long a claim lasts. Every step renews it.
	lease = 15 * time.Second
	// minPause and maxPause bound the pause of a released replay that made no progress.
	// The pause is a quarter of the time since its last progress.
	minPause = 2 * time.Second
	maxPause = time.Minute
)

// errLost means that another process has claimed the replay, or that the replay is
// finished.
var errLost = errors.New("this process no longer has the replay's claim")

// claim is the right to work on a replay. It holds while the row of the replay has its
// token.
type claim struct {
	id    events.ReplayID
	token pgtype.UUID
}

const claimReplays = `
UPDATE fanmail.replays AS r SET runner = gen_random_uuid(), leased_until = now() + make_interval(secs => $1),
       state = CASE WHEN state = 'queued' THEN 'running' ELSE state END
FROM (SELECT id FROM fanmail.replays WHERE finished_at IS NULL AND due_at <= now() AND leased_until <= now()
      ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS due
WHERE r.id = due.id
RETURNING r.id, r.runner`

// claimDue claims up to limit replays that are due and that no process works on.
func claimDue(ctx context.Context, pool *pgxpool.Pool, limit int) ([]claim, error) {
	if limit <= 0 {
		return nil, nil
	}
	rows, err := pool.Query(ctx, claimReplays, lease.Seconds(), limit)
	if err != nil {
		return nil, fmt.Errorf("claim replays: %w", err)
	}
	claims, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (claim, error) {
		var c claim
		err := row.Scan(&c.id, &c.token)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim replays: %w", err)
	}
	return claims, nil
}

// anyDue reports whether a replay is due that no process works on. It reports false if
// the query fails.
func anyDue(ctx context.Context, pool *pgxpool.Pool) bool {
	var some bool
	err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.replays WHERE finished_at IS NULL AND due_at <= now() AND leased_until <= now())`).Scan(&some)
	return err == nil && some
}

const releaseReplay = `
UPDATE fanmail.replays SET leased_until = '-infinity', looked_at = now() - interval '1 second', due_at = now() + CASE WHEN $3 THEN interval '0'
       ELSE least(greatest((now() - moved_at) / 4, make_interval(secs => $4)), make_interval(secs => $5)) END
WHERE id = $1 AND runner = $2 AND finished_at IS NULL`

// release ends the lease. The replay is due at once if it makes progress, else after a
// pause.
func (c claim) release(ctx context.Context, pool *pgxpool.Pool, progresses bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := pool.Exec(ctx, releaseReplay, c.id, c.token, progresses, minPause.Seconds(), maxPause.Seconds()); err != nil {
		return fmt.Errorf("release a replay: %w", err)
	}
	return nil
}
