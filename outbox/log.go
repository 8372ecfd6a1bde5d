package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// EventRefs name events by id and creation time. The zero value names none.
type EventRefs struct {
	ids   []events.ID
	times []time.Time
}

// Add names one more event.
func (r *EventRefs) Add(id events.ID, createdAt time.Time) {
	r.ids, r.times = append(r.ids, id), append(r.times, createdAt)
}

// Len returns how many events are named.
func (r *EventRefs) Len() int { return len(r.ids) }

// Payload is what an attempt needs of an event.
type Payload struct {
	Envelope    []byte
	Traceparent string // "" if the event is not traced
}

const payloads = `
SELECT e.id, e.envelope, coalesce(e.traceparent, '') FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
CROSS JOIN LATERAL (SELECT id, envelope, traceparent FROM fanmail.events WHERE id = w.id AND created_at = w.created_at) AS e`

// Envelopes reads the envelopes of the events, each by its primary key. An event
// past its retention is absent from the answer. It does not check tenants.
func Envelopes(ctx context.Context, db pg.DB, refs EventRefs) (map[events.ID]Payload, error) {
	found := make(map[events.ID]Payload, refs.Len())
	if refs.Len() == 0 {
		return found, nil
	}
	rows, err := db.Query(ctx, payloads, refs.ids, refs.times)
	if err != nil {
		return nil, fmt.Errorf("read envelopes: %w", err)
	}
	var id events.ID
	var p Payload
	if _, err := pgx.ForEachRow(rows, []any{&id, &p.Envelope, &p.Traceparent}, func() error {
		found[id] = Payload{Envelope: append([]byte(nil), p.Envelope...), Traceparent: p.Traceparent}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read envelopes: %w", err)
	}
	return found, nil
}

// HeadBytes is how much of an envelope [Heads] reads.
const HeadBytes = 8 << 10

const headsOf = `
SELECT e.id, e.head FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
CROSS JOIN LATERAL (SELECT id, substring(envelope FOR $3) AS head FROM fanmail.events WHERE id = w.id AND created_at = w.created_at) AS e`

// Heads reads the first [HeadBytes] of the events' envelopes, each by its primary key. It does not check tenants.
func Heads(ctx context.Context, db pg.DB, refs EventRefs) (map[events.ID][]byte, error) {
	found := make(map[events.ID][]byte, refs.Len())
	if refs.Len() == 0 {
		return found, nil
	}
	rows, err := db.Query(ctx, headsOf, refs.ids, refs.times, HeadBytes)
	if err != nil {
		return nil, fmt.Errorf("read the heads of envelopes: %w", err)
	}
	var id events.ID
	var head []byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &head}, func() error { found[id], head = head, nil; return nil }); err != nil {
		return nil, fmt.Errorf("read the heads of envelopes: %w", err)
	}
	return found, nil
}

// recordColumns are the columns that [recordFields] scans.
const recordColumns = `id, tenant_id, type, seq, created_at, coalesce(agent_id, '') AS agent_id, coalesce(conversation_id, '') AS conversation_id,
	coalesce(message_id, '') AS message_id, coalesce(labels, '{}') AS labels`

func recordFields(r *events.Record) []any {
	return []any{&r.ID, &r.TenantID, &r.Type, &r.Seq, &r.CreatedAt, &r.AgentID, &r.ConversationID, &r.MessageID, &r.Labels}
}

func placeOf(r *events.Record) pg.Place { return pg.Place{CreatedAt: r.CreatedAt, ID: r.ID} }

// Find reads one event of the tenant, with its envelope. Without such an event the
// error wraps [pgx.ErrNoRows].
func Find(ctx context.Context, db pg.DB, tenant events.TenantID, id events.ID) (events.Record, []byte, error) {
	var r events.Record
	var envelope []byte
	err := db.QueryRow(ctx, `SELECT `+recordColumns+`, envelope FROM fanmail.events WHERE tenant_id = $1 AND id = $2`, tenant, id).
		Scan(append(recordFields(&r), &envelope)...)
	if err != nil {
		return events.Record{}, nil, fmt.Errorf("read an event: %w", err)
	}
	r.CreatedAt = r.CreatedAt.UTC()
	return r, envelope, nil
}

// LogScan is how many events one call of [ListLog] looks through for those that
// match a filter.
const LogScan = 10_000

// LogFilter narrows a list of events; a zero field does not.
type LogFilter struct {
	Type    events.Type
	AgentID string
	Since   time.Time // inclusive
	Until   time.Time // exclusive
	// MessageID is the event's message_id, MessageIDHeader the Message-ID of its mail, with or without angle brackets.
	MessageID, MessageIDHeader string
	// From and To are an address, or a part of an address or a name; a part that begins with "@" is a domain. Subject is
	// a part of the subject. Letters of either case are the same.
	From, To, Subject string
	// Involves is one whole address: of a sender, a recipient or the agent, where replies go, or of whom a report is about.
	Involves string
}

func (f *LogFilter) check() error {
	if f.Type != "" && !f.Type.Possible() {
		return (&events.UnknownTypeError{Type: f.Type}).In("type")
	}
	for _, given := range []struct{ field, text string }{
		{"agent_id", f.AgentID}, {"message_id", f.MessageID}, {"message_id_header", f.MessageIDHeader}, {"from", f.From}, {"to", f.To}, {"subject", f.Subject},
	} {
		if wrong := input.Text(given.text); wrong != "" {
			return &events.FieldError{Field: given.field, Reason: wrong}
		}
	}
	return nil
}

// The bound on created_at alone prunes partitions, which a row comparison does
// not. The index events_tenant gives the order.
const logHistory = ` FROM fanmail.events
	WHERE tenant_id = $1 AND created_at <= $2 AND (created_at, id) < ($2, $3) AND created_at >= $4 AND created_at < $5
	ORDER BY created_at DESC, id DESC`

const listLog = `SELECT ` + recordColumns + logHistory + ` LIMIT $6`

// The matches among the next LogScan events and, if these are fewer than asked
// for, the last event looked at. It is one statement, so that both see the same
// rows.
var listLogFiltered = fmt.Sprintf(`
WITH wanted AS MATERIALIZED (
	SELECT * FROM (SELECT `+recordColumns+logHistory+` LIMIT %[1]d) AS seen
	WHERE ($7 = '' OR type = $7) AND ($8 = '' OR agent_id = $8) ORDER BY created_at DESC, id DESC LIMIT $6
)
SELECT *, false FROM wanted
UNION ALL
SELECT *, true FROM (
	SELECT `+recordColumns+strings.Replace(logHistory, "WHERE", "WHERE (SELECT count(*) FROM wanted) < $6 AND", 1)+` OFFSET %[1]d - 1 LIMIT 1
) AS last`, LogScan)

// listByTime lists events without reading their envelopes.
func listByTime(ctx context.Context, db pg.DB, tenant events.TenantID, f *LogFilter, after pg.Place, limit int) ([]events.Record, pg.Place, error) {
	at, id := after.Bound()
	since, until := pg.Range(f.Since, f.Until)
	statement, args := listLog, []any{tenant, at, id, since, until, limit}
	filtered := f.Type != "" || f.AgentID != ""
	if filtered {
		statement, args = listLogFiltered, append(args, string(f.Type), f.AgentID)
	}
	rows, err := db.Query(ctx, statement, args...)
	if err != nil {
		return nil, pg.Place{}, fmt.Errorf("list events: %w", err)
	}
	defer rows.Close()
	var end pg.Place
	var list []events.Record
	budget := pg.NewBudget(pg.PageBytes)
	for rows := budget.Of(rows); rows.Next(); {
		var r events.Record
		last := false
		into := recordFields(&r)
		if filtered {
			into = append(into, &last)
		}
		if err := rows.Scan(into...); err != nil {
			return nil, pg.Place{}, fmt.Errorf("list events: %w", err)
		}
		r.CreatedAt = r.CreatedAt.UTC()
		if last {
			end = pg.Place{CreatedAt: r.CreatedAt, ID: r.ID}
			continue
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, pg.Place{}, fmt.Errorf("list events: %w", err)
	}
	if budget.Cut() {
		end = placeOf(&list[len(list)-1])
	}
	return list, end, nil
}

// Window names the events of a tenant that were created from Since on and before
// Until, less those whose envelope is short and holds Without, and those that were
// imported as [Imported.Unlisted].
type Window struct {
	TenantID events.TenantID
	Since    time.Time
	Until    time.Time
	Types    []events.Type // and patterns, as of a webhook's events; empty: all
	Without  []byte        // part of an envelope; must not be empty
}

// place is where the window begins, or goes on after an event.
func (w *Window) place(after *events.Record) (time.Time, [16]byte) {
	if after == nil {
		return w.Since, [16]byte{} // before every id
	}
	return after.CreatedAt, after.ID
}

// types returns the types, and what the patterns' types begin with.
func (w *Window) types() (types, prefixes []string) {
	types, prefixes = []string{}, []string{}
	for _, t := range w.Types {
		if t.Pattern() {
			prefixes = append(prefixes, string(t[:len(t)-1]))
		} else {
			types = append(types, string(t))
		}
	}
	return types, prefixes
}

const ofWindow = ` FROM fanmail.events WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $4 AND (created_at, id) > ($2, $3) AND seq > 0
	AND (cardinality($5::text[]) + cardinality($8::text[]) = 0 OR type = ANY($5)
		OR cardinality($8) > 0 AND EXISTS (SELECT 1 FROM unnest($8) AS prefix WHERE starts_with(type, prefix))) AND NOT (octet_length(envelope) < 1024 AND position($6::bytea IN envelope) > 0)
	ORDER BY created_at, id LIMIT $7`

// ReadWindow returns up to limit events of the window after an event of it, oldest
// first; after is nil for the first call, and its ID and CreatedAt are used.
func ReadWindow(ctx context.Context, db pg.DB, w *Window, after *events.Record, limit int) ([]events.Record, error) {
	at, id := w.place(after)
	types, prefixes := w.types()
	rows, err := db.Query(ctx, `SELECT `+recordColumns+ofWindow, w.TenantID, at, id, w.Until, types, w.Without, limit, prefixes)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r events.Record, err error) {
		err = row.Scan(recordFields(&r)...)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return list, nil
}

const countOfWindow = `WITH page AS (SELECT id, created_at` + ofWindow + `)
	SELECT count(*), (SELECT created_at FROM page ORDER BY created_at DESC, id DESC LIMIT 1), (SELECT id FROM page ORDER BY created_at DESC, id DESC LIMIT 1)
	FROM page`

// CountWindow counts up to limit events of the window after an event of it. It
// also returns the last event counted, with ID and CreatedAt alone; nil if there
// was none.
func CountWindow(ctx context.Context, db pg.DB, w *Window, after *events.Record, limit int) (int, *events.Record, error) {
	at, id := w.place(after)
	var n int
	var last events.Record
	var lastTime *time.Time
	types, prefixes := w.types()
	err := db.QueryRow(ctx, countOfWindow, w.TenantID, at, id, w.Until, types, w.Without, limit, prefixes).Scan(&n, &lastTime, &last.ID)
	if err != nil {
		return 0, nil, fmt.Errorf("count events: %w", err)
	}
	if lastTime == nil {
		return n, nil, nil
	}
	last.CreatedAt = *lastTime
	return n, &last, nil
}

// TenantsSince returns those of the tenants that have an event in the log which was created at a time or later, in the
// order of their ids. It looks up one event of each.
func TenantsSince(ctx context.Context, db pg.DB, tenants []events.TenantID, since time.Time) ([]events.TenantID, error) {
	rows, err := db.Query(ctx, `SELECT t.id FROM unnest($1::uuid[]) AS t (id)
		CROSS JOIN LATERAL (SELECT 1 FROM fanmail.events WHERE tenant_id = t.id AND created_at >= $2 LIMIT 1) AS event ORDER BY t.id`, tenants, since)
	if err != nil {
		return nil, fmt.Errorf("look for tenants with events: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[events.TenantID])
	if err != nil {
		return nil, fmt.Errorf("look for tenants with events: %w", err)
	}
	return found, nil
}
