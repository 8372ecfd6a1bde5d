package importe2a

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// The steps of a pass that have a position in fanmail.imports.
const (
	stepEvents          = "events"
	stepMessages        = "messages"
	stepDeliveries      = "deliveries"
	stepAgentDeliveries = "agent_deliveries"
)

// overlap is how far before its position a step reads again. A row gets its creation time when its transaction begins,
// and can be seen when that commits.
const overlap = time.Hour

// state is the row of fanmail.imports of a source.
type state struct {
	source  events.TenantID // the first user there
	started time.Time
	now     time.Time // by Fanmail's database
	at      map[string]time.Time
	digests map[string]string // of imported_rows, by kind and id
}

// loadState reads how far the import has come; with create it makes the row.
func loadState(ctx context.Context, db pg.DB, source events.TenantID, create bool) (*state, error) {
	if create {
		if _, err := db.Exec(ctx, `INSERT INTO fanmail.imports (source) VALUES ($1) ON CONFLICT DO NOTHING`, source); err != nil {
			return nil, fmt.Errorf("begin an import: %w", err)
		}
	}
	s := &state{source: source, at: map[string]time.Time{}, digests: map[string]string{}}
	rows, err := db.Query(ctx, `SELECT now(), i.started_at, i.events_at, i.messages_at, i.deliveries_at, i.agent_deliveries_at
		FROM (SELECT $1::uuid AS source) AS s LEFT JOIN fanmail.imports AS i ON i.source = s.source`, source)
	if err != nil {
		return nil, fmt.Errorf("read an import's state: %w", err)
	}
	var started *time.Time
	var evs, messages, deliveries, agents pgtype.Timestamptz
	if _, err := pgx.ForEachRow(rows, []any{&s.now, &started, &evs, &messages, &deliveries, &agents}, func() error { return nil }); err != nil {
		return nil, fmt.Errorf("read an import's state: %w", err)
	}
	s.started = s.now
	if started != nil {
		s.started = *started
	}
	for step, at := range map[string]pgtype.Timestamptz{stepEvents: evs, stepMessages: messages, stepDeliveries: deliveries, stepAgentDeliveries: agents} {
		if at.Valid && at.InfinityModifier == pgtype.Finite {
			s.at[step] = at.Time
		}
	}
	rows, err = db.Query(ctx, `SELECT kind, id, digest FROM fanmail.imported_rows WHERE source = $1`, source)
	if err != nil {
		return nil, fmt.Errorf("read an import's state: %w", err)
	}
	var kind, id string
	var digest []byte
	if _, err := pgx.ForEachRow(rows, []any{&kind, &id, &digest}, func() error { s.digests[kind+" "+id] = string(digest); return nil }); err != nil {
		return nil, fmt.Errorf("read an import's state: %w", err)
	}
	return s, nil
}

// queueDigest adds to a batch that a row was imported as it is.
func (s *state) queueDigest(b *pgx.Batch, kind, id, digest string) {
	b.Queue(`INSERT INTO fanmail.imported_rows (source, kind, id, digest) VALUES ($1, $2, $3, $4)
		ON CONFLICT (source, kind, id) DO UPDATE SET digest = excluded.digest`, s.source, kind, id, []byte(digest))
}

var movePosition = map[string]string{
	stepEvents:          `UPDATE fanmail.imports SET events_at = greatest(events_at, $2) WHERE source = $1`,
	stepMessages:        `UPDATE fanmail.imports SET messages_at = greatest(messages_at, $2) WHERE source = $1`,
	stepDeliveries:      `UPDATE fanmail.imports SET deliveries_at = greatest(deliveries_at, $2) WHERE source = $1`,
	stepAgentDeliveries: `UPDATE fanmail.imports SET agent_deliveries_at = greatest(agent_deliveries_at, $2) WHERE source = $1`,
}

// position is how far a step has come: all rows before it were taken, and have ended there.
type position struct {
	step    string
	at      time.Time
	stopped bool // a row did not end yet
}

// row takes note of a row, in the order of their creation; ended means that it will not change there.
func (p *position) row(createdAt time.Time, ended bool) {
	if p.stopped = p.stopped || !ended; !p.stopped {
		p.at = createdAt
	}
}

// store writes the position in the transaction of a page.
func (p *position) store(ctx context.Context, tx pgx.Tx, source events.TenantID) error {
	if p.at.IsZero() {
		return nil
	}
	if _, err := tx.Exec(ctx, movePosition[p.step], source, p.at); err != nil {
		return fmt.Errorf("store an import's position: %w", err)
	}
	return nil
}

// finish records the end of a whole pass.
func (s *state) finish(ctx context.Context, db pg.DB) error {
	if _, err := db.Exec(ctx, `UPDATE fanmail.imports SET passed_at = now() WHERE source = $1`, s.source); err != nil {
		return fmt.Errorf("end a pass of an import: %w", err)
	}
	return nil
}
