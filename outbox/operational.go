package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// InsertOperational inserts up to [MaxInsert] operational events without idempotency keys, through a function that runs
// with the rights of the tables' owner: the role of a dispatcher may insert no other events. The function leaves out an
// event that is not about a webhook of its tenant. A deleted tenant has its events until it is erased: its deliveries go
// on, and it may be restored. InsertOperational returns how many it inserted.
//
// If one event is not valid, it returns an [*events.FieldError] and inserts none.
func InsertOperational(ctx context.Context, tx pgx.Tx, evs []events.Event) (int, error) {
	if len(evs) == 0 {
		return 0, nil
	}
	if len(evs) > MaxInsert {
		return 0, tooMany(len(evs))
	}
	var c insertColumns
	c.grow(len(evs))
	for i := range evs {
		p, err := Prepare(evs[i])
		if err != nil {
			return 0, err
		}
		c.add(&p)
	}
	b := &pgx.Batch{}
	b.Queue(lockAnyStrict, c.distinctTenants())
	inserted := 0
	b.Queue(`SELECT count(*)::int FROM fanmail.insert_operational_events($1, $2, $3, $4, $5)`, c.ids, c.tenants, c.types, c.heads, c.tails).
		QueryRow(func(row pgx.Row) error { return row.Scan(&inserted) })
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return 0, fmt.Errorf("insert operational events: %w", err)
	}
	return inserted, nil
}
