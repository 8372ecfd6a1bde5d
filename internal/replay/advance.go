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

// change gives a row another state, or [stateGone].
type change struct {
	row
	to int
}

// delta is what one step changes.
type delta struct {
	enqueued, alreadyDelivered, delivered, failed int
	changes                                       []change
}

func (t *delta) change(r row, to int) { t.changes = append(t.changes, change{r, to}) }

// position is the place of the search among deliveries that were attempted.
type position struct {
	at      time.Time
	webhook events.WebhookID
	seq     int64
}

// advance settles deliveries that have ended, enqueues as many more as there is
// room for, and completes the replay when nothing is left.
func (w *work) advance(ctx context.Context) (bool, error) {
	return w.change(ctx, Completed, func(ctx context.Context, tx pgx.Tx, t *delta) error {
		if err := w.settle(ctx, tx, t); err != nil {
			return err
		}
		return w.enqueue(ctx, tx, t)
	})
}

// cancel ends what is not finished.
func (w *work) cancel(ctx context.Context) (bool, error) {
	return w.change(ctx, Cancelled, func(ctx context.Context, tx pgx.Tx, t *delta) error {
		w.place.phase = phaseRead
		rows, err := w.rows(ctx, tx, `SELECT `+rowColumns+` FROM fanmail.replay_deliveries WHERE replay_id = $1
			ORDER BY replay_id, state, webhook_id, seq LIMIT $2`, w.id, 10*lookRows)
		if err != nil {
			return err
		}
		var made []row
		for _, r := range rows {
			if r.state == stateFound {
				t.change(r, stateGone)
			} else if len(made) < 2*lookRows {
				made = append(made, r)
			}
		}
		if len(made) == 0 {
			return nil
		}
		ended, err := subscribers.CancelReplayed(ctx, tx, &w.ref, w.ids(made))
		if err != nil {
			return err
		}
		cancelled := make(map[events.DeliveryID]bool, len(ended))
		for _, id := range ended {
			cancelled[id] = true
		}
		var rest []row
		for _, r := range made {
			if cancelled[w.ref.Delivery(r.EventID, r.WebhookID)] {
				t.failed++
				t.change(r, stateGone)
			} else {
				rest = append(rest, r)
			}
		}
		return w.classify(ctx, tx, t, rest)
	})
}

// change runs one transaction of changes and ends the replay with the state
// where no rows are left and all is read. It says whether anything changed.
func (w *work) change(ctx context.Context, end State, f func(context.Context, pgx.Tx, *delta) error) (bool, error) {
	t := &delta{}
	finished := false
	began := w.state == Cancelling
	err := w.fenced(ctx, func(tx pgx.Tx) error {
		if !began && w.state == Cancelling {
			return nil // the next step's business
		}
		if err := f(ctx, tx, t); err != nil {
			return err
		}
		left := w.total(stateFound) + w.total(stateEnqueued) + w.total(stateTried)
		for i := range t.changes {
			if t.changes[i].to == stateGone {
				left--
			}
		}
		finished = left == 0 && w.place.phase == phaseRead
		if len(t.changes) == 0 && !finished {
			return nil
		}
		return w.write(ctx, tx, t, finished, end)
	})
	if err != nil {
		return false, err
	}
	w.apply(t)
	if finished {
		w.finished = true
		w.log.Info("a replay has ended", zap.String("state", string(end)))
	}
	return len(t.changes) > 0, nil
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

func (w *work) write(ctx context.Context, tx pgx.Tx, t *delta, finished bool, end State) error {
	var gone, moved []events.WebhookID
	var goneSeqs, movedSeqs []int64
	var states []int16
	for i := range t.changes {
		c := &t.changes[i]
		if c.to == stateGone {
			gone, goneSeqs = append(gone, c.WebhookID), append(goneSeqs, c.Seq)
			continue
		}
		moved, movedSeqs, states = append(moved, c.WebhookID), append(movedSeqs, c.Seq), append(states, int16(c.to)) //nolint:gosec // one of three
	}
	b := &pgx.Batch{}
	if len(gone) > 0 {
		b.Queue(deleteRows, w.id, gone, goneSeqs)
	}
	if len(moved) > 0 {
		b.Queue(moveRows, w.id, moved, movedSeqs, states)
	}
	b.Queue(writeCounts, w.id, t.enqueued, t.delivered, t.failed, string(w.place.phase), finished, string(end))
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write a replay's progress: %w", err)
	}
	return nil
}

// apply brings what is remembered in line with what was written, and tells the
// lanes of what is due.
func (w *work) apply(t *delta) {
	now := time.Now()
	left, created := map[events.WebhookID]int{}, map[events.WebhookID]bool{}
	for i := range t.changes {
		c := &t.changes[i]
		h := w.hook(c.WebhookID)
		h.rows[c.state]--
		if c.state == stateEnqueued || c.to == stateEnqueued {
			h.movedAt = now
		}
		if c.to != stateGone {
			h.rows[c.to]++
		}
		switch {
		case c.state == stateEnqueued:
			left[c.WebhookID]++
		case c.to != stateGone:
			created[c.WebhookID] = true
		}
	}
	dt := max(now.Sub(w.paced).Seconds(), 1e-3)
	w.paced = now
	for id, h := range w.hooks {
		h.pace += min(1, dt) * (float64(left[id])/dt - h.pace) // smoothed over about a second
	}
	for id := range created {
		subscribers.WakeLane(w.nc, id)
	}
	for outcome, n := range map[string]int{"created": t.enqueued, "already_delivered": t.alreadyDelivered, "delivered": t.delivered, "failed": t.failed} {
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

func (w *work) ids(rows []row) []events.DeliveryID {
	ids := make([]events.DeliveryID, len(rows))
	for i := range rows {
		ids[i] = w.ref.Delivery(rows[i].EventID, rows[i].WebhookID)
	}
	return ids
}

const (
	enqueuedRows = `SELECT ` + rowColumns + ` FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state = 1`
	triedRows    = `SELECT ` + rowColumns + ` FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state = 2 AND (webhook_id, seq) > ($2, $3)
		ORDER BY webhook_id, seq LIMIT $4`
)

// settle looks at the deliveries that wait for their first attempt, and now and
// then at some of those that have failed one.
func (w *work) settle(ctx context.Context, tx pgx.Tx, t *delta) error {
	var rows []row
	var err error
	if w.total(stateEnqueued) > 0 {
		if rows, err = w.rows(ctx, tx, enqueuedRows, w.id); err != nil {
			return err
		}
	}
	if w.total(stateTried) > 0 && time.Since(w.searched.at) >= lookEvery {
		// The zero id as a value means NULL.
		tried, err := w.rows(ctx, tx, triedRows, w.id, [16]byte(w.searched.webhook), w.searched.seq, lookRows)
		if err != nil {
			return err
		}
		w.searched = position{at: time.Now()}
		if n := len(tried); n == lookRows {
			w.searched.webhook, w.searched.seq = tried[n-1].WebhookID, tried[n-1].Seq
		}
		rows = append(rows, tried...)
	}
	return w.classify(ctx, tx, t, rows)
}

func (w *work) classify(ctx context.Context, tx pgx.Tx, t *delta, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	outcomes, err := subscribers.ReplayOutcomes(ctx, tx, &w.ref, w.ids(rows))
	if err != nil {
		return err
	}
	for _, r := range rows {
		o, ok := outcomes[w.ref.Delivery(r.EventID, r.WebhookID)]
		switch {
		case !ok: // no attempt yet
		case o.Status == "delivered":
			t.delivered++
			t.change(r, stateGone)
		case o.Status == "failed":
			t.failed++
			t.change(r, stateGone)
		case r.state == stateEnqueued:
			t.change(r, stateTried)
		}
	}
	return nil
}

const foundRows = `
SELECT f.* FROM unnest($2::uuid[], $3::integer[]) AS w (id, room) CROSS JOIN LATERAL (
	SELECT ` + rowColumns + ` FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state = 0 AND webhook_id = w.id ORDER BY seq LIMIT w.room
) AS f`

// enqueue makes deliveries of what was found, for the webhooks that have room.
func (w *work) enqueue(ctx context.Context, tx pgx.Tx, t *delta) error {
	freed := map[events.WebhookID]int{}
	for i := range t.changes {
		if t.changes[i].state == stateEnqueued {
			freed[t.changes[i].WebhookID]++
		}
	}
	ids, rooms, overflowing := w.wants(freed)
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
	verdicts, err := subscribers.InsertReplayed(ctx, tx, &w.ref, list)
	if err != nil {
		return err
	}
	paid := 0
	for i, v := range verdicts {
		switch v {
		case subscribers.ReplayCreated:
			t.enqueued++
			if overflowing[rows[i].WebhookID] {
				t.change(rows[i], stateTried) // out of the window, which is full
				continue
			}
			paid++
			t.change(rows[i], stateEnqueued)
		case subscribers.ReplayDelivered, subscribers.ReplayKnown:
			t.alreadyDelivered++
			t.change(rows[i], stateGone)
		case subscribers.ReplayNotFannedOut: // its outbox row goes first
		}
	}
	w.take(paid)
	return nil
}

// wants gives the webhooks that are to have deliveries made, how many each, and
// which of them give up what holds others up.
func (w *work) wants(freed map[events.WebhookID]int) (ids []events.WebhookID, rooms []int32, overflowing map[events.WebhookID]bool) {
	left := w.allowed()
	n := len(w.order)
	for i, id := range w.order {
		h := w.hooks[id]
		if h.rows[stateFound] == 0 || h.strict && w.place.phase != phaseRead && h.rows[stateFound] < sortMin {
			continue
		}
		room := min(h.window()-h.rows[stateEnqueued]+freed[id], left/(n-i))
		if room <= 0 && n > 1 && h.rows[stateFound] >= foundMax && time.Since(h.movedAt) > stalled {
			room = overflow
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
	if n > 1 { // another one is first the next time
		w.order = append(w.order[1:], w.order[0])
	}
	return ids, rooms, overflowing
}
