package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// row is a row of replay_deliveries.
type row struct {
	subscribers.Replayed
	state int
}

const rowColumns = `webhook_id, seq, event_id, event_created_at, event_type, coalesce(message_id, ''), state`

func scanRow(r pgx.CollectableRow) (row, error) {
	var v row
	err := r.Scan(&v.WebhookID, &v.Seq, &v.EventID, &v.EventCreatedAt, &v.EventType, &v.MessageID, &v.state)
	return v, err
}

// change is a row and its next state, or [stateDeleted].
type change struct {
	row
	to int
}

// delta is the changes of one step.
type delta struct {
	enqueued, alreadyDelivered, delivered, failed int
	changes                                       []change
}

func (d *delta) move(r row, to int) { d.changes = append(d.changes, change{r, to}) }

// update runs f in a transaction and writes the delta. If everything is read and no row is
// left, it ends the replay in state end. It reports whether a row changed.
func (w *work) update(ctx context.Context, end State, f func(context.Context, pgx.Tx, *delta) error) (bool, error) {
	d := &delta{}
	finished := false
	cancelling := w.state == Cancelling
	err := w.fenced(ctx, func(tx pgx.Tx) error {
		if !cancelling && w.state == Cancelling {
			return nil // the next step cancels
		}
		if err := f(ctx, tx, d); err != nil {
			return err
		}
		left := w.total(stateFound) + w.total(stateEnqueued) + w.total(stateTried)
		for i := range d.changes {
			if d.changes[i].to == stateDeleted {
				left--
			}
		}
		finished = left == 0 && w.cursor.phase == phaseDone
		if len(d.changes) == 0 && !finished {
			return nil
		}
		return w.write(ctx, tx, d, finished, end)
	})
	if err != nil {
		return false, err
	}
	w.apply(d)
	if finished {
		w.finished = true
		w.log.Info("a replay has ended", zap.String("state", string(end)))
	}
	return len(d.changes) > 0, nil
}

const (
	deleteRows = `DELETE FROM fanmail.replay_deliveries AS r USING unnest($2::uuid[], $3::bigint[]) AS u (webhook_id, seq)
		WHERE r.replay_id = $1 AND r.webhook_id = u.webhook_id AND r.seq = u.seq`
	moveRows = `UPDATE fanmail.replay_deliveries AS r SET state = u.state FROM unnest($2::uuid[], $3::bigint[], $4::smallint[]) AS u (webhook_id, seq, state)
		WHERE r.replay_id = $1 AND r.webhook_id = u.webhook_id AND r.seq = u.seq`
	writeCounts = `UPDATE fanmail.replays SET enqueued = enqueued + $2, delivered = delivered + $3, failed = failed + $4, moved_at = now(),
			phase = $5, state = CASE WHEN $6 THEN $7 ELSE state END, finished_at = CASE WHEN $6 THEN now() END
		WHERE id = $1`
)

// write writes the rows and counts of a delta, and the end of the replay if it is finished.
func (w *work) write(ctx context.Context, tx pgx.Tx, d *delta, finished bool, end State) error {
	var deleted, moved []events.WebhookID
	var deletedSeqs, movedSeqs []int64
	var states []int16
	for i := range d.changes {
		c := &d.changes[i]
		if c.to == stateDeleted {
			deleted, deletedSeqs = append(deleted, c.WebhookID), append(deletedSeqs, c.Seq)
			continue
		}
		moved, movedSeqs, states = append(moved, c.WebhookID), append(movedSeqs, c.Seq), append(states, int16(c.to)) //nolint:gosec // one of three
	}
	b := &pgx.Batch{}
	if len(deleted) > 0 {
		b.Queue(deleteRows, w.id, deleted, deletedSeqs)
	}
	if len(moved) > 0 {
		b.Queue(moveRows, w.id, moved, movedSeqs, states)
	}
	b.Queue(writeCounts, w.id, d.enqueued, d.delivered, d.failed, string(w.cursor.phase), finished, string(end))
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write a replay's progress: %w", err)
	}
	return nil
}

// apply updates the state in memory to what was written, and wakes the lanes of webhooks
// that have new deliveries.
func (w *work) apply(d *delta) {
	now := time.Now()
	left, created := map[events.WebhookID]int{}, map[events.WebhookID]bool{}
	for i := range d.changes {
		c := &d.changes[i]
		t := w.target(c.WebhookID)
		t.rows[c.state]--
		if c.state == stateEnqueued || c.to == stateEnqueued {
			t.movedAt = now
		}
		if c.to != stateDeleted {
			t.rows[c.to]++
		}
		switch {
		case c.state == stateEnqueued:
			left[c.WebhookID]++
		case c.to != stateDeleted:
			created[c.WebhookID] = true
		}
	}
	dt := max(now.Sub(w.pacedAt).Seconds(), 1e-3)
	w.pacedAt = now
	for id, t := range w.targets {
		t.pace += min(1, dt) * (float64(left[id])/dt - t.pace) // smoothed over about a second
	}
	for id := range created {
		subscribers.WakeDue(w.nc, id)
	}
	for outcome, n := range map[string]int{"created": d.enqueued, "already_delivered": d.alreadyDelivered, "delivered": d.delivered, "failed": d.failed} {
		w.metrics.deliveries.WithLabelValues(outcome).Add(float64(n))
	}
}

func (w *work) rows(ctx context.Context, tx pgx.Tx, query string, args ...any) ([]row, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read a replay's deliveries: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanRow)
	if err != nil {
		return nil, fmt.Errorf("read a replay's deliveries: %w", err)
	}
	return list, nil
}

// deliveryIDs returns the ids of the rows' deliveries.
func (w *work) deliveryIDs(rows []row) []events.DeliveryID {
	ids := make([]events.DeliveryID, len(rows))
	for i := range rows {
		ids[i] = w.ref.Delivery(rows[i].EventID, rows[i].WebhookID)
	}
	return ids
}
