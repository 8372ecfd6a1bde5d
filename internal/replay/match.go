package replay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// found is an event of the window. Its envelope is nil if it was read from the table.
type found struct {
	events.Record
	envelope []byte
}

// inTable are events that were read from the table.
func inTable(list []events.Record) []found {
	out := make([]found, len(list))
	for i := range list {
		out[i].Record = list[i]
	}
	return out
}

// envelopeBatch is how many envelopes are read at once, for filters on data.
const envelopeBatch = 32

// wants reports whether the request asks for an event.
func (q *Request) wants(e *events.Record) bool {
	return q.selects(e.Type) && (len(q.AgentIDs) == 0 || slices.Contains(q.AgentIDs, e.AgentID))
}

// matches calls add for each match of the events that the request asks for with the takers. i is the event's place in
// the list. It reads the envelopes that filters on data need and that the list does not have.
func (q *Request) matches(ctx context.Context, db pg.DB, takers *subscribers.Takers, list []found, add func(i int, m subscribers.Replayed)) error {
	var hooks []*subscribers.Entry
	for start := 0; start < len(list); start += envelopeBatch {
		chunk := list[start:min(start+envelopeBatch, len(list))]
		var refs outbox.EventRefs
		for i := range chunk {
			if e := &chunk[i]; e.envelope == nil && q.wants(&e.Record) && takers.NeedEnvelope(&e.Record) {
				refs.Add(e.ID, e.CreatedAt)
			}
		}
		stored, err := outbox.Envelopes(ctx, db, refs)
		if err != nil {
			return err
		}
		for i := range chunk {
			e := &chunk[i]
			if !q.wants(&e.Record) {
				continue
			}
			envelope := e.envelope
			if envelope == nil {
				envelope = stored[e.ID].Envelope
			}
			hooks = takers.Match(hooks[:0], &e.Record, envelope)
			for _, h := range hooks {
				add(start+i, subscribers.Replayed{
					WebhookID: h.ID, EventID: e.ID, EventType: e.Type, EventCreatedAt: e.CreatedAt, MessageID: e.MessageID, Seq: e.Seq,
				})
			}
		}
	}
	return nil
}

// takers are the webhooks of the replay as they are now.
func (w *work) takers() *subscribers.Takers {
	if w.request.WebhookID.IsZero() {
		return w.registry.Takers(w.ref.TenantID)
	}
	if h := w.registry.Get(w.request.WebhookID); h != nil && !h.Deleted && h.TenantID == w.ref.TenantID {
		return subscribers.NewTakers(h)
	}
	return nil
}

const insertFound = `
INSERT INTO fanmail.replay_deliveries (replay_id, webhook_id, seq, event_id, event_created_at, event_type, message_id)
SELECT $1, webhook_id, seq, event_id, event_created_at, event_type, nullif(message_id, '')
FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[])
     AS t (webhook_id, seq, event_id, event_created_at, event_type, message_id)
ON CONFLICT DO NOTHING
RETURNING webhook_id`

const writeCursor = `
UPDATE fanmail.replays SET phase = $2, boundary = $3, at_time = CASE WHEN $4 THEN NULL ELSE $5::timestamptz END, at_id = $6, at_seq = $7, end_seq = $8,
       seen = $9, matched = $10, matched_before = $11, from_stream = $12, from_table = $13, moved_at = now()
WHERE id = $1`

// advanceTo stores the next cursor and the matches of the events up to it in one
// transaction. The matches of the first counted events increase next.matched.
func (w *work) advanceTo(ctx context.Context, next cursor, list []found, counted int) error {
	var matches []subscribers.Replayed
	err := w.request.matches(ctx, w.pool, w.takers(), list, func(i int, m subscribers.Replayed) {
		if matches = append(matches, m); i < counted {
			next.matched++
		}
	})
	if err != nil {
		return err
	}
	if w.cursor.phase == phaseBefore && next.phase == phaseStream {
		next.matchedBefore = next.matched
	}
	var inserted []events.WebhookID
	err = w.fenced(ctx, func(tx pgx.Tx) error {
		if w.state == Cancelling {
			return nil
		}
		if w.ref.Missed && len(matches) > 0 {
			delivered, err := subscribers.DeliveredLive(ctx, tx, matches)
			if err != nil {
				return err
			}
			n := 0
			for i := range matches {
				if !delivered[i] {
					matches[n] = matches[i]
					n++
				}
			}
			matches = matches[:n]
		}
		var err error
		if inserted, err = w.storeMatches(ctx, tx, matches); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, writeCursor, w.id, string(next.phase), next.boundary, next.first, next.atTime, next.atID, next.atSeq, next.endSeq,
			next.seen, next.matched, next.matchedBefore, next.fromStream, next.fromTable)
		if err != nil {
			return fmt.Errorf("store the cursor of a replay: %w", err)
		}
		return nil
	})
	if err != nil || w.state == Cancelling {
		return err
	}
	w.cursor = next
	for _, id := range inserted {
		w.target(id).rows[stateFound]++
	}
	return nil
}

// storeMatches inserts matches into replay_deliveries and returns the webhook of each new
// row. It skips matches that are there already.
func (w *work) storeMatches(ctx context.Context, tx pgx.Tx, matches []subscribers.Replayed) ([]events.WebhookID, error) {
	if len(matches) == 0 {
		return nil, nil
	}
	n := len(matches)
	hooks, seqs, ids := make([]events.WebhookID, n), make([]int64, n), make([]events.ID, n)
	created, types, messages := make([]time.Time, n), make([]string, n), make([]string, n)
	for i := range matches {
		m := &matches[i]
		hooks[i], seqs[i], ids[i] = m.WebhookID, m.Seq, m.EventID
		created[i], types[i], messages[i] = m.EventCreatedAt, string(m.EventType), m.MessageID
	}
	rows, err := tx.Query(ctx, insertFound, w.id, hooks, seqs, ids, created, types, messages)
	if err != nil {
		return nil, fmt.Errorf("store the matches of a replay: %w", err)
	}
	inserted, err := pgx.CollectRows(rows, pgx.RowTo[events.WebhookID])
	if err != nil {
		return nil, fmt.Errorf("store the matches of a replay: %w", err)
	}
	return inserted, nil
}
