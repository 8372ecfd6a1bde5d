package opevents

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// OperationalEvent is a fact that becomes an operational event of a tenant.
type OperationalEvent struct {
	TenantID events.TenantID
	Type     events.Type
	Data     json.RawMessage // the event's data; events/operational has its type

	id   int64
	at   time.Time
	mail bool // it becomes a mail instead of an event
}

const insertFacts = `
INSERT INTO fanmail.operational_events (tenant_id, mail, type, data)
`

// QueueFacts adds to the batch of the facts' transaction a statement that records
// them. facts is a query that returns tenant_id, whether it is a mail, type and data; with is "" or a
// WITH clause that it reads from.
func QueueFacts(b *pgx.Batch, with, facts string, args ...any) {
	b.Queue(with+insertFacts+facts, args...)
}

// InsertFacts is [QueueFacts] outside a batch.
func InsertFacts(ctx context.Context, tx pgx.Tx, with, facts string, args ...any) error {
	if _, err := tx.Exec(ctx, with+insertFacts+facts, args...); err != nil {
		return fmt.Errorf("record operational events: %w", err)
	}
	return nil
}

// take takes up to limit recorded facts, oldest first. They are gone when tx
// commits; two callers never get the same one.
func take(ctx context.Context, tx pgx.Tx, limit int) ([]OperationalEvent, error) {
	rows, err := tx.Query(ctx, `DELETE FROM fanmail.operational_events
		WHERE id = ANY (ARRAY(SELECT id FROM fanmail.operational_events ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
		RETURNING id, created_at, tenant_id, mail, type, data`, limit)
	if err != nil {
		return nil, fmt.Errorf("take operational events: %w", err)
	}
	taken, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e OperationalEvent, err error) {
		err = row.Scan(&e.id, &e.at, &e.TenantID, &e.mail, &e.Type, &e.Data)
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("take operational events: %w", err)
	}
	slices.SortFunc(taken, func(a, b OperationalEvent) int { return cmp.Compare(a.id, b.id) })
	return taken, nil
}
