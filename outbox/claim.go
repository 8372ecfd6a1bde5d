package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

const claimKeys = `
WITH input AS (
	SELECT * FROM unnest($1::uuid[], $2::boolean[]) AS t (id, keyed)
), ` + freshOfKeys + `
SELECT id, now() FROM fresh`

// Claim inserts events like [InsertPrepared], but in two batches of the caller: the first tells which events are new, the
// second writes these. In between the caller can prepare the events again with other contents. Together with statements
// of its own, and BEGIN and COMMIT in the batches, a transaction then takes two round trips. The zero value has no event.
//
// A claim holds the idempotency keys of its events. If the second batch is not sent, roll the transaction back.
type Claim struct {
	results []Inserted
}

// Queue adds to a batch the statement that claims the keys of up to [MaxInsert] events. Before it, the batch must have
// the locks of [QueueLock] or [QueueTryLock]. An event that [Prepare] did not create is an [*events.FieldError].
func (c *Claim) Queue(b *pgx.Batch, evs []Prepared) error {
	if len(evs) > MaxInsert {
		return tooMany(len(evs))
	}
	results, at, columns, err := arrange(evs)
	if err != nil {
		return err
	}
	c.results = results
	if len(evs) == 0 {
		return nil
	}
	b.Queue(claimKeys, columns.ids, columns.keyed).Query(func(rows pgx.Rows) error {
		var id events.ID
		var created time.Time
		_, err := pgx.ForEachRow(rows, []any{&id, &created}, func() error {
			i := at[id]
			results[i].New, results[i].CreatedAt = true, created.UTC()
			return nil
		})
		return err
	})
	return nil
}

// Results returns one result for each event of [Claim.Queue], in order. They hold once the batch has been read, and the
// new events have been inserted by [Claim.QueueInsert].
func (c *Claim) Results() []Inserted { return c.results }

// QueueInsert adds to a batch the statement that writes the new events and their outbox rows; nothing if none is new. evs
// are the events of [Claim.Queue] in the same order and with the same ids, otherwise it returns an [*events.FieldError].
// If ctx carries a sampled span, the deliveries of the events are traced under it.
func (c *Claim) QueueInsert(ctx context.Context, b *pgx.Batch, evs []Prepared) error {
	if len(evs) != len(c.results) {
		return &events.FieldError{Field: "events", Reason: fmt.Sprintf("%d events, of which %d were claimed", len(evs), len(c.results))}
	}
	var columns insertColumns
	for i := range evs {
		if evs[i].id != c.results[i].ID {
			return &events.FieldError{Field: "events", Reason: fmt.Sprintf("event %d is not the one that was claimed", i)}
		}
		if c.results[i].New {
			columns.add(&evs[i])
		}
	}
	if len(columns.ids) == 0 {
		return nil
	}
	ctx, ended := begin(ctx, len(columns.ids))
	b.Queue(insertEvents, columns.args(ctx)...).Exec(func(pgconn.CommandTag) error {
		ended()
		return nil
	})
	return nil
}

// insertNew closes the gate if the event is not new. Behind a closed gate it writes nothing.
const insertNew = `
WITH input AS (
	SELECT * FROM (` + inputRows + `) AS t WHERE ` + pg.GateOpen + `
), ` + freshOfKeys + logged + `, queued AS (` + queueLogged + `)
SELECT event_id, created_at, CASE WHEN event_id IS NULL THEN ` + pg.CloseGate + ` END FROM (VALUES (1)) AS one (n) LEFT JOIN queued ON true`

// QueueNew adds to a batch the statement that inserts an event, as [InsertPrepared] does, behind a gate of the
// transaction; see [pg.GateOpen]. done is the result once the batch has been read: if it is not New, the gate is closed.
// Before it, the batch must have the locks of [QueueGateLock].
func QueueNew(ctx context.Context, b *pgx.Batch, ev Prepared, done *Inserted) error {
	if ev.id.IsZero() {
		return &events.FieldError{Field: "events", Reason: "the event was not created by Prepare"}
	}
	var columns insertColumns
	columns.add(&ev)
	*done = Inserted{ID: ev.id}
	ctx, ended := begin(ctx, 1)
	b.Queue(insertNew, columns.args(ctx)...).QueryRow(func(row pgx.Row) error {
		defer ended()
		var id *events.ID
		var created *time.Time
		err := row.Scan(&id, &created, nil)
		if err == nil && id != nil && created != nil {
			done.New, done.CreatedAt = true, created.UTC()
		}
		return err
	})
	return nil
}
