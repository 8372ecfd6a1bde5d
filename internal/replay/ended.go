package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// endedOverlap is how long a transaction may take that ends a delivery: it carries the time of its beginning.
	endedOverlap = 10 * time.Second
	// maxEnded bounds how many ended deliveries one search reads.
	maxEnded = 5000
	// maxIdle bounds how many released replays one search asks for.
	maxIdle = 500
)

// ended are the columns of ended deliveries.
type ended struct {
	webhooks  []events.WebhookID
	seqs      []int64
	delivered []bool
}

// readEnded reads the deliveries of a replay that ended after a time.
func readEnded(ctx context.Context, db pg.DB, id events.ReplayID, createdAt, after time.Time) (ended, error) {
	var e ended
	list, err := subscribers.EndedOfReplay(ctx, db, id, createdAt, after, maxEnded)
	for _, d := range list {
		e.webhooks, e.seqs, e.delivered = append(e.webhooks, d.WebhookID), append(e.seqs, d.Seq), append(e.delivered, d.Delivered)
	}
	return e, err
}

const rowsOfEnded = `
SELECT ` + rowColumns + ` FROM unnest($2::uuid[], $3::bigint[]) AS e (w, s)
JOIN fanmail.replay_deliveries ON replay_id = $1 AND webhook_id = e.w AND seq = e.s AND state = 2`

// endedRows returns the rows in stateTried whose deliveries ended since the last search.
func (w *work) endedRows(ctx context.Context, tx pgx.Tx) ([]row, error) {
	var now time.Time
	if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return nil, fmt.Errorf("read the database's clock: %w", err)
	}
	e, err := readEnded(ctx, tx, w.id, w.ref.CreatedAt, w.endedAt.Add(-endedOverlap))
	if err != nil || len(e.seqs) == 0 {
		w.endedAt = now
		return nil, err
	}
	w.endedAt = now
	return w.rows(ctx, tx, rowsOfEnded, w.id, e.webhooks, e.seqs)
}

const (
	idleReplays = `SELECT id, created_at, looked_at FROM fanmail.replays WHERE finished_at IS NULL AND due_at > now() AND leased_until <= now() ORDER BY due_at LIMIT $1`
	wakeReplays = `UPDATE fanmail.replays SET due_at = now() WHERE id = ANY($1::uuid[]) AND finished_at IS NULL AND due_at > now() AND leased_until <= now()`
)

// wakeEnded makes the released replays due of which a delivery has ended since a runner looked.
func wakeEnded(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, idleReplays, maxIdle)
	if err != nil {
		return fmt.Errorf("look for idle replays: %w", err)
	}
	var ids []events.ReplayID
	var created, looked []time.Time
	var id events.ReplayID
	var createdAt, lookedAt time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &createdAt, &lookedAt}, func() error {
		ids, created, looked = append(ids, id), append(created, createdAt), append(looked, lookedAt)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for idle replays: %w", err)
	}
	if len(ids) == 0 {
		return nil
	}
	if ids, err = subscribers.ReplaysWithEnded(ctx, pool, ids, created, looked); err != nil || len(ids) == 0 {
		return err
	}
	if _, err := pool.Exec(ctx, wakeReplays, ids); err != nil {
		return fmt.Errorf("wake replays: %w", err)
	}
	return nil
}
