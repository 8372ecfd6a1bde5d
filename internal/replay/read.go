package replay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// readBatch is how many events a step reads.
	readBatch = 500
	// countBatch is how many events a step counts.
	countBatch = 20_000
)

// phase is where reading is.
type phase string

const (
	// phaseGate: until every event of the window has been fanned out. What is
	// not is the fan-out's to deliver.
	phaseGate phase = "gate"
	// phaseBefore: the events before the seam, from the table.
	phaseBefore phase = "before"
	// phaseStream: those from the seam on, from the stream.
	phaseStream phase = "stream"
	// phaseCheck: did the stream have all that the table has?
	phaseCheck phase = "check"
	// phaseAfter: it did not; those from the seam on, from the table.
	phaseAfter phase = "after"
	// phaseRead: all is read.
	phaseRead phase = "read"
)

// place is how far reading is. It is stored with what was found up to there.
type place struct {
	phase phase
	seam  time.Time
	// The last event read from the table; fresh: none in this phase yet.
	fresh  bool
	atTime time.Time
	atID   events.ID
	// The last message read from the stream, and the last one to read.
	atSeq, endSeq int64
	// seen counts the events of the window that the stream has given.
	seen            int64
	matched, before int64
	stream, table   bool
}

// count is the progress of the check. Another process starts it again.
type count struct {
	events int64
	last   *events.Record // nil: none counted yet
}

// read reads a little more, unless what was found waits to be enqueued.
func (w *work) read(ctx context.Context) (bool, error) {
	for _, h := range w.hooks {
		if h.rows[stateFound] >= foundMax {
			return false, nil
		}
	}
	switch w.place.phase {
	case phaseGate:
		return w.gate(ctx)
	case phaseBefore:
		return true, w.readTable(ctx, w.place.seam)
	case phaseStream:
		return w.readStream(ctx)
	case phaseCheck:
		return true, w.check(ctx)
	case phaseAfter:
		return true, w.readTable(ctx, w.request.Until)
	case phaseRead:
	}
	return false, nil
}

// gate waits until no event of the window is left in the outbox. From then on
// an event of the window has its message at or before the stream's end.
func (w *work) gate(ctx context.Context) (bool, error) {
	waits, err := outbox.WaitsBefore(ctx, w.pool, w.ref.TenantID, w.request.Until)
	if err != nil {
		return false, err
	}
	if waits {
		return false, w.fenced(ctx, func(pgx.Tx) error { return nil })
	}
	next := w.place
	h, err := w.horizon(ctx)
	if err != nil {
		return false, w.fault(ctx, err)
	}
	next.seam, next.endSeq = h.seam, h.last
	next.phase, next.fresh = phaseBefore, true
	if !next.seam.After(w.request.Since) {
		next.phase = phaseStream
	}
	w.log.Info("a replay begins", zap.Time("since", w.request.Since), zap.Time("until", w.request.Until), zap.Time("seam", next.seam))
	return true, w.found(ctx, next, nil, 0)
}

// testEvent is how the envelope of a test delivery's event goes on after its
// creation time. Nobody but the webhook under test is to get it.
var testEvent = []byte(`"data":{"message":"` + subscribers.TestMessage + `","test":true,`)

// window is the part of the window that is to be read from the table.
func (w *work) window(since, until time.Time) *outbox.Window {
	return &outbox.Window{TenantID: w.ref.TenantID, Since: since, Until: until, Types: w.request.Types, Without: testEvent}
}

// readTable reads the next events of the window from the table.
func (w *work) readTable(ctx context.Context, until time.Time) error {
	next := w.place
	start := w.request.Since
	if next.phase == phaseAfter {
		start = next.seam
	}
	var after *events.Record
	if !next.fresh {
		after = &events.Record{ID: next.atID, CreatedAt: next.atTime}
	}
	list, err := outbox.ReadWindow(ctx, w.pool, w.window(start, until), after, readBatch)
	if err != nil {
		return err
	}
	w.metrics.events.WithLabelValues("postgres").Add(float64(len(list)))
	next.table = next.table || len(list) > 0
	if n := len(list); n > 0 {
		next.fresh, next.atTime, next.atID = false, list[n-1].CreatedAt, list[n-1].ID
	}
	if len(list) < readBatch {
		switch {
		case next.phase == phaseBefore && next.seam.Before(w.request.Until):
			next.phase = phaseStream
		default:
			next.phase = phaseRead
		}
	}
	return w.found(ctx, next, list, len(list))
}

// match appends what the events mean for the webhooks, as these are now.
func (w *work) match(to []subscribers.Replayed, e *events.Record) []subscribers.Replayed {
	q := &w.request
	if len(q.AgentIDs) > 0 && !slices.Contains(q.AgentIDs, e.AgentID) {
		return to
	}
	var hooks []*subscribers.Entry
	if q.WebhookID.IsZero() {
		hooks = w.registry.Match(nil, e)
	} else if h := w.registry.Get(q.WebhookID); h != nil && !h.Deleted && h.TenantID == e.TenantID && h.Wants(e) {
		hooks = append(hooks, h)
	}
	for _, h := range hooks {
		to = append(to, subscribers.Replayed{
			WebhookID: h.ID, EventID: e.ID, EventType: e.Type, EventCreatedAt: e.CreatedAt, MessageID: e.MessageID, Seq: e.Seq,
		})
	}
	return to
}

const insertFound = `
INSERT INTO fanmail.replay_deliveries (replay_id, webhook_id, seq, event_id, event_created_at, event_type, message_id)
SELECT $1, webhook_id, seq, event_id, event_created_at, event_type, nullif(message_id, '')
FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[])
     AS t (webhook_id, seq, event_id, event_created_at, event_type, message_id)
ON CONFLICT DO NOTHING
RETURNING webhook_id`

const writePlace = `
UPDATE fanmail.replays SET phase = $2, seam = $3, at_time = CASE WHEN $4 THEN NULL ELSE $5::timestamptz END, at_id = $6, at_seq = $7, end_seq = $8,
       seen = $9, matched = $10, matched_before = $11, from_stream = $12, from_table = $13, moved_at = now()
WHERE id = $1`

// found stores what the events mean together with the place up to which they
// were read. The first so many of them are counted as matched.
func (w *work) found(ctx context.Context, next place, list []events.Record, counted int) error {
	var pairs []subscribers.Replayed
	for i := range list {
		before := len(pairs)
		pairs = w.match(pairs, &list[i])
		if i < counted {
			next.matched += int64(len(pairs) - before)
		}
	}
	if w.place.phase == phaseBefore && next.phase == phaseStream {
		next.before = next.matched
	}
	var kept []events.WebhookID
	err := w.fenced(ctx, func(tx pgx.Tx) error {
		if w.state == Cancelling {
			return nil
		}
		if w.ref.Missed && len(pairs) > 0 {
			delivered, err := subscribers.DeliveredLive(ctx, tx, pairs)
			if err != nil {
				return err
			}
			n := 0
			for i := range pairs {
				if !delivered[i] {
					pairs[n] = pairs[i]
					n++
				}
			}
			pairs = pairs[:n]
		}
		var err error
		if kept, err = w.keep(ctx, tx, pairs); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, writePlace, w.id, string(next.phase), next.seam, next.fresh, next.atTime, next.atID, next.atSeq, next.endSeq,
			next.seen, next.matched, next.before, next.stream, next.table)
		if err != nil {
			return fmt.Errorf("store the place of a replay: %w", err)
		}
		return nil
	})
	if err != nil || w.state == Cancelling {
		return err
	}
	w.place = next
	for _, id := range kept {
		w.hook(id).rows[stateFound]++
	}
	return nil
}

func (w *work) keep(ctx context.Context, tx pgx.Tx, pairs []subscribers.Replayed) ([]events.WebhookID, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	n := len(pairs)
	hooks, seqs, ids := make([]events.WebhookID, n), make([]int64, n), make([]events.ID, n)
	created, types, messages := make([]time.Time, n), make([]string, n), make([]string, n)
	for i := range pairs {
		p := &pairs[i]
		hooks[i], seqs[i], ids[i] = p.WebhookID, p.Seq, p.EventID
		created[i], types[i], messages[i] = p.EventCreatedAt, string(p.EventType), p.MessageID
	}
	rows, err := tx.Query(ctx, insertFound, w.id, hooks, seqs, ids, created, types, messages)
	if err != nil {
		return nil, fmt.Errorf("store what a replay has found: %w", err)
	}
	kept, err := pgx.CollectRows(rows, pgx.RowTo[events.WebhookID])
	if err != nil {
		return nil, fmt.Errorf("store what a replay has found: %w", err)
	}
	return kept, nil
}
