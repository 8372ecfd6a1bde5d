package fanout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// insertRows is the most rows of one INSERT.
const insertRows = 2000

// committer runs the fan-out's transaction.
type committer struct {
	pool     *pgxpool.Pool
	registry *subscribers.Registry
	counted  func(events.TenantID, int64) // see Options.Count
}

// committed is the result of one batch.
type committed struct {
	lease  time.Time   // when the new rows' lease ends
	fresh  int         // events whose outbox rows were taken
	taken  []*event    // the same
	forged []events.ID // events whose outbox rows are another event's
	rows   []subscribers.NewDelivery
	of     []*event // the event of each row

	uncounted []uncounted
}

// uncounted is an event that was not counted for its tenant when it was inserted.
type uncounted struct {
	tenant events.TenantID
	bytes  int64
}

// commit runs the batch's transaction in two round trips. The new rows of webhooks
// for which due returns true are due at once; the others are leased. After an error
// the pool closes the connection, which rolls the transaction back.
func (c *committer) commit(ctx context.Context, batch []event, due func(events.WebhookID) bool) (*committed, error) {
	b := &committed{}
	err := c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		taken, err := c.take(ctx, conn, batch, b)
		if err != nil {
			return err
		}
		b.forged = taken.Forged
		c.match(batch, taken.Bytes, b, due)
		q := &pgx.Batch{}
		for chunk := range slices.Chunk(b.rows, insertRows) {
			subscribers.QueueInsert(q, chunk)
		}
		q.Queue("COMMIT")
		if err := conn.SendBatch(ctx, q).Close(); err != nil {
			return fmt.Errorf("insert deliveries: %w", err)
		}
		return nil
	})
	if err == nil && c.counted != nil {
		for _, u := range b.uncounted {
			c.counted(u.tenant, u.bytes)
		}
	}
	return b, err
}

// take begins the transaction, deletes the batch's outbox rows and updates the
// registry to the transaction's snapshot. It returns the events of the deleted rows.
func (c *committer) take(ctx context.Context, conn *pgxpool.Conn, batch []event, b *committed) (taken outbox.Taken, err error) {
	q := &pgx.Batch{}
	q.Queue("BEGIN")
	q.Queue(`SELECT now() + make_interval(secs => $1), set_config('synchronous_commit', 'off', true)`, subscribers.FirstLease.Seconds())
	outbox.QueueTake(q, func(yield func(*events.Record) bool) {
		for i := range batch {
			if !yield(&batch[i].Record) {
				return
			}
		}
	})
	c.registry.Queue(q)
	results := conn.SendBatch(ctx, q)
	defer func() { _ = results.Close() }()
	if _, err := results.Exec(); err != nil {
		return taken, fmt.Errorf("begin a batch: %w", err)
	}
	var setting string
	if err := results.QueryRow().Scan(&b.lease, &setting); err != nil {
		return taken, fmt.Errorf("begin a batch: %w", err)
	}
	if taken, err = outbox.ReadTaken(results); err != nil {
		return taken, err
	}
	if err := c.registry.Read(results); err != nil {
		return taken, err
	}
	return taken, results.Close()
}

// match makes a delivery row for each taken event and each webhook that matches
// it.
func (c *committer) match(batch []event, taken map[events.ID]int64, b *committed, due func(events.WebhookID) bool) {
	var matched []*subscribers.Entry
	for i := range batch {
		e := &batch[i]
		size, fresh := taken[e.ID]
		if !fresh {
			continue
		}
		delete(taken, e.ID) // a batch may hold the same event twice
		b.fresh++
		b.taken = append(b.taken, e)
		if size > 0 {
			b.uncounted = append(b.uncounted, uncounted{e.TenantID, size})
		}
		matched = c.registry.Match(matched[:0], &e.Record, e.envelope)
		for _, w := range matched {
			b.rows = append(b.rows, subscribers.NewDelivery{
				Ref:       subscribers.Ref{ID: events.DeriveDeliveryID(e.ID, w.ID, events.ReplayID{}, e.CreatedAt), CreatedAt: e.CreatedAt},
				WebhookID: w.ID, TenantID: e.TenantID, EventID: e.ID, EventType: e.Type, MessageID: e.MessageID, Seq: e.Seq, Strict: w.Strict, MaxAttempts: w.MaxAttempts,
				Due: !w.Strict && (w.Paused || w.Pull || due(w.ID)), Waits: w.Paused, Polled: w.Pull,
			})
			b.of = append(b.of, e)
		}
	}
}
