package replay

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// minSorted is how many events of a strict webhook are collected, while reading goes on,
	// before those with the lowest sequences are enqueued. No event is read further out of
	// order than that.
	minSorted = maxFound / 2
	// stallTimeout is how long a webhook with maxFound events may make no progress before it
	// stops holding up the other webhooks. Then its found events are enqueued beyond the
	// limit on waiting deliveries.
	stallTimeout = time.Minute
	// overflowBatch is how many events of a stalled webhook one step enqueues.
	overflowBatch = 1000
)

// advance settles the deliveries that have ended, enqueues more within the limits, and
// completes the replay when nothing is left. It reports whether a row changed.
func (w *work) advance(ctx context.Context) (bool, error) {
	return w.update(ctx, Completed, func(ctx context.Context, tx pgx.Tx, d *delta) error {
		if err := w.settle(ctx, tx, d); err != nil {
			return err
		}
		return w.enqueue(ctx, tx, d)
	})
}

const foundRows = `
SELECT f.* FROM unnest($2::uuid[], $3::integer[]) AS w (id, room) CROSS JOIN LATERAL (
	SELECT ` + rowColumns + ` FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state = 0 AND webhook_id = w.id ORDER BY seq LIMIT w.room
) AS f`

// enqueue inserts deliveries for found events of the webhooks that are below their limits.
func (w *work) enqueue(ctx context.Context, tx pgx.Tx, d *delta) error {
	freed := map[events.WebhookID]int{}
	for i := range d.changes {
		if d.changes[i].state == stateEnqueued {
			freed[d.changes[i].WebhookID]++
		}
	}
	ids, rooms, overflowing := w.allot(freed)
	if len(ids) == 0 {
		return nil
	}
	rows, err := w.rows(ctx, tx, foundRows, w.id, ids, rooms)
	if err != nil || len(rows) == 0 {
		return err
	}
	list := make([]subscribers.Replayed, len(rows))
	for i := range rows {
		list[i] = rows[i].Replayed
	}
	results, err := subscribers.InsertReplayed(ctx, tx, &w.ref, list)
	if err != nil {
		return err
	}
	limited := 0
	for i, result := range results {
		switch result {
		case subscribers.ReplayCreated:
			d.enqueued++
			if overflowing[rows[i].WebhookID] {
				d.move(rows[i], stateTried) // not counted as waiting for its first attempt
				continue
			}
			limited++
			d.move(rows[i], stateEnqueued)
		case subscribers.ReplayDelivered, subscribers.ReplayKnown:
			d.alreadyDelivered++
			d.move(rows[i], stateDeleted)
		case subscribers.ReplayNotFannedOut: // retry in the next step
		}
	}
	w.limiter.ReserveN(time.Now(), limited)
	return nil
}

// allot divides the rate limit among the webhooks. It returns the webhooks that may enqueue,
// how many events each, and which of them are stalled and overflow. freed are the rows that
// the current step moves out of stateEnqueued.
func (w *work) allot(freed map[events.WebhookID]int) (ids []events.WebhookID, rooms []int32, overflowing map[events.WebhookID]bool) {
	// Replays that reserve at the same time may exceed the limit; they wait longer next time.
	left := max(0, int(w.limiter.Tokens()))
	n := len(w.order)
	for i, id := range w.order {
		t := w.targets[id]
		if t.rows[stateFound] == 0 || t.strict && w.cursor.phase != phaseDone && t.rows[stateFound] < minSorted {
			continue
		}
		room := min(t.maxEnqueued()-t.rows[stateEnqueued]+freed[id], left/(n-i))
		if room <= 0 && n > 1 && t.rows[stateFound] >= maxFound && time.Since(t.movedAt) > stallTimeout {
			room = overflowBatch
			if overflowing == nil {
				overflowing = map[events.WebhookID]bool{}
			}
			overflowing[id] = true
		} else {
			left -= max(0, room)
		}
		if room > 0 {
			ids, rooms = append(ids, id), append(rooms, int32(room))
		}
	}
	if n > 1 { // rotate
		w.order = append(w.order[1:], w.order[0])
	}
	return ids, rooms, overflowing
}

// step takes one step: it reads and enqueues, or cancels. It reports whether the replay made
// progress.
func (w *work) step(ctx context.Context) (bool, error) {
	if w.state == Cancelling {
		return w.cancel(ctx)
	}
	read, err := w.read(ctx)
	if err != nil {
		return read, err
	}
	moved, err := w.advance(ctx)
	return read || moved, err
}
