package replay

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Rows in stateTried are searched for final deliveries every triedInterval, triedBatch of
// them at a time.
const (
	triedInterval = time.Second
	triedBatch    = 1000
)

const (
	enqueuedRows = `SELECT ` + rowColumns + ` FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state = 1`
	triedRows    = `SELECT ` + rowColumns + ` FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state = 2 AND (webhook_id, seq) > ($2, $3)
		ORDER BY webhook_id, seq LIMIT $4`
)

// settle moves the rows whose deliveries were attempted. It looks at all rows that wait
// for their first attempt. Every triedInterval it also looks at those whose deliveries have
// ended since, and, for what that search missed, at the next of those that had an attempt.
func (w *work) settle(ctx context.Context, tx pgx.Tx, d *delta) error {
	var rows []row
	var err error
	if w.total(stateEnqueued) > 0 {
		if rows, err = w.rows(ctx, tx, enqueuedRows, w.id); err != nil {
			return err
		}
	}
	if w.total(stateTried) > 0 && time.Since(w.attempted.at) >= triedInterval {
		// As an id, zero would be NULL.
		tried, err := w.rows(ctx, tx, triedRows, w.id, w.attempted.webhook.UUID(), w.attempted.seq, triedBatch)
		if err != nil {
			return err
		}
		w.attempted = attemptedCursor{at: time.Now()}
		if n := len(tried); n == triedBatch {
			w.attempted.webhook, w.attempted.seq = tried[n-1].WebhookID, tried[n-1].Seq
		}
		ended, err := w.endedRows(ctx, tx)
		if err != nil {
			return err
		}
		rows = append(rows, without(tried, ended)...)
		rows = append(rows, ended...)
	}
	return w.classify(ctx, tx, d, rows)
}

// without returns the rows that are not among others.
func without(rows, others []row) []row {
	type key struct {
		webhook events.WebhookID
		seq     int64
	}
	known := make(map[key]bool, len(others))
	for i := range others {
		known[key{others[i].WebhookID, others[i].Seq}] = true
	}
	return slices.DeleteFunc(rows, func(r row) bool { return known[key{r.WebhookID, r.Seq}] })
}

// classify moves rows according to the status of their deliveries.
func (w *work) classify(ctx context.Context, tx pgx.Tx, d *delta, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	outcomes, err := subscribers.ReplayOutcomes(ctx, tx, &w.ref, w.deliveryIDs(rows))
	if err != nil {
		return err
	}
	for _, r := range rows {
		o, ok := outcomes[w.ref.Delivery(r.EventID, r.WebhookID)]
		switch {
		case !ok: // no attempt yet
		case o.Status == "delivered":
			d.delivered++
			d.move(r, stateDeleted)
		case o.Status == "failed":
			d.failed++
			d.move(r, stateDeleted)
		case r.state == stateEnqueued:
			d.move(r, stateTried)
		}
	}
	return nil
}

// cancel cancels pending deliveries and deletes rows, a batch a step. It ends the replay
// as [Cancelled] when none is left.
func (w *work) cancel(ctx context.Context) (bool, error) {
	return w.update(ctx, Cancelled, func(ctx context.Context, tx pgx.Tx, d *delta) error {
		w.cursor.phase = phaseDone
		rows, err := w.rows(ctx, tx, `SELECT `+rowColumns+` FROM fanmail.replay_deliveries WHERE replay_id = $1
			ORDER BY replay_id, state, webhook_id, seq LIMIT $2`, w.id, 10*triedBatch)
		if err != nil {
			return err
		}
		var inserted []row // their deliveries
		for _, r := range rows {
			if r.state == stateFound {
				d.move(r, stateDeleted)
			} else if len(inserted) < 2*triedBatch {
				inserted = append(inserted, r)
			}
		}
		if len(inserted) == 0 {
			return nil
		}
		ended, err := subscribers.CancelReplayed(ctx, tx, &w.ref, w.deliveryIDs(inserted))
		if err != nil {
			return err
		}
		cancelled := make(map[events.DeliveryID]bool, len(ended))
		for _, id := range ended {
			cancelled[id] = true
		}
		var rest []row
		for _, r := range inserted {
			if cancelled[w.ref.Delivery(r.EventID, r.WebhookID)] {
				d.failed++
				d.move(r, stateDeleted)
			} else {
				rest = append(rest, r)
			}
		}
		return w.classify(ctx, tx, d, rest)
	})
}
