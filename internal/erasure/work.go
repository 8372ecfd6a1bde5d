package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// phase is what is done next.
type phase string

// The phases, in their order.
const (
	phaseRows    phase = "rows"    // the rows
	phaseLate    phase = "late"    // the rows of events that were committed meanwhile
	phaseMails   phase = "mails"   // mails of which the event lacks addresses are searched
	phaseHits    phase = "hits"    // the rows of those that have the address
	phaseStreams phase = "streams" // messages of MAIL_EVENTS, and blobs
	phaseItems   phase = "items"   // what was written late about erased events
	phaseDone    phase = "completed"
)

// work is an erasure on which a process works.
type work struct {
	id          events.ErasureID
	tenant      events.TenantID
	kind        Kind
	message     events.MessageID
	address     string
	phase       phase
	requestedAt time.Time
	at          pg.Place // how far the phase is
	seq         int64    // how far it is in the stream
	removed     map[string]int64
	notSearched int64
	wait        time.Duration // until the next step
	tables      []pg.TenantRows
	writers     []string // see [work.awaitWriters]
}

// claimed is a statement for the erasure in one of some phases that is due first.
const claimed = `
SELECT id, tenant_id, kind, message_id, coalesce(address, ''), phase, requested_at, at_time, at_id, at_seq, removed, not_searched, writers FROM fanmail.erasures
WHERE finished_at IS NULL AND due_at <= now() AND phase = ANY ($1) AND (kind <> 'tenant' OR $2) ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED`

// claim locks the erasure that is due first; nil if there is none. With tenants it may be that of a tenant.
func claim(ctx context.Context, tx pgx.Tx, tenants bool, phases ...phase) (*work, error) {
	names := make([]string, len(phases))
	for i, p := range phases {
		names[i] = string(p)
	}
	var w work
	var at *time.Time
	var id events.ID // zero for NULL
	err := tx.QueryRow(ctx, claimed, names, tenants).Scan(&w.id, &w.tenant, &w.kind, &w.message, &w.address, &w.phase, &w.requestedAt, &at, &id, &w.seq, &w.removed, &w.notSearched, &w.writers)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("claim an erasure: %w", err)
	}
	if at != nil {
		w.at = pg.Place{CreatedAt: *at, ID: id}
	}
	if w.tenant.IsZero() {
		return nil, fmt.Errorf("erasure %s has no tenant", w.id)
	}
	return &w, nil
}

// enter begins a phase after a time.
func (w *work) enter(p phase, after time.Duration) {
	w.phase, w.at, w.seq, w.wait = p, pg.Place{}, 0, after
}

func (w *work) count(what string, n int64) {
	if n > 0 {
		w.removed[what] += n
	}
}

// An erasure that has ended keeps no address.
const saved = `
UPDATE fanmail.erasures SET phase = $2, due_at = clock_timestamp() + make_interval(secs => $3), at_time = $4, at_id = $5, at_seq = $6, removed = $7, not_searched = $9, writers = CASE WHEN NOT $8 THEN $10::text[] END,
	address = CASE WHEN $8 THEN NULL ELSE address END, finished_at = CASE WHEN $8 THEN clock_timestamp() END
WHERE id = $1`

// save writes how far the erasure is, in the transaction of what was removed.
func (w *work) save(ctx context.Context, tx pg.DB) error {
	var at *time.Time
	var id *[16]byte
	if w.at != (pg.Place{}) {
		at, id = &w.at.CreatedAt, &w.at.ID
	}
	done := w.phase == phaseDone
	if _, err := tx.Exec(ctx, saved, w.id, string(w.phase), w.wait.Seconds(), at, id, w.seq, w.removed, done, w.notSearched, w.writers); err != nil {
		return fmt.Errorf("save an erasure: %w", err)
	}
	if !done {
		return nil
	}
	if _, err := tx.Exec(ctx, `DELETE FROM fanmail.erased_items WHERE erasure_id = $1`, w.id); err != nil {
		return fmt.Errorf("forget what an erasure has removed: %w", err)
	}
	return nil
}

// retryAfter is when an erasure is tried again whose step failed. Meanwhile others have their turn.
const retryAfter = 15 * time.Second

func postpone(ctx context.Context, db pg.DB, id events.ErasureID) error {
	_, err := db.Exec(ctx, `UPDATE fanmail.erasures SET due_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1`, id, retryAfter.Seconds())
	if err != nil {
		return fmt.Errorf("postpone an erasure: %w", err)
	}
	return nil
}
