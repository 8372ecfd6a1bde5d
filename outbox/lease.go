package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// The lease of an outbox row hides it from other callers of [Lease] while its
// event travels through the broker.
const (
	// FirstLease is how long a published event may take to be fanned out before
	// it is published again. Each further publication doubles the lease, up to
	// MaxLease, so that a long outage of the dispatchers does not fill the stream
	// with copies.
	FirstLease = 30 * time.Second
	// MaxLease is the longest of these leases.
	MaxLease = 5 * time.Minute
)

// Entry is a waiting event, with all that its message needs.
type Entry struct {
	events.Record
	Envelope []byte
	// Traceparent is "" unless the transaction that inserted the event was traced.
	Traceparent string
	// Publishes counts the leases of the row, this one included; at most 1000.
	Publishes int
	// Age is the time since the event's creation, by the database's clock. Only
	// [Lease] sets it.
	Age time.Duration
}

// entryColumns are the columns of an event e that [Entry.fields] scans. The type
// is "" if the event was not found.
const entryColumns = `coalesce(e.type, ''), coalesce(e.agent_id, ''), coalesce(e.conversation_id, ''), coalesce(e.message_id, ''), e.labels, e.envelope, coalesce(e.traceparent, '')`

func (e *Entry) fields() []any {
	return []any{&e.Type, &e.AgentID, &e.ConversationID, &e.MessageID, &e.Labels, &e.Envelope, &e.Traceparent}
}

// Leased rows keep their place by seq; rows that were never published come first,
// since their lease ended at -infinity. Rows are updated by ctid; those that have
// moved since the statement began are left to the next call. The array, and the
// second LIMIT on it, make the planner expect one row whatever the statistics
// say: otherwise it would read a whole index of the outbox, in the minutes after
// statistics were gathered on an empty outbox even once for each row. The events
// are looked up one by one, which the LIMIT enforces, and by all columns of
// either index: in a partition that was analyzed while it was empty the planner
// would read a whole index for each event. Of events of other days the statement
// gives only the keys; see [pg.Between].
const leaseRows = `
WITH due AS MATERIALIZED (
	SELECT ctid AS at FROM fanmail.outbox WHERE leased_until <= now() + make_interval(secs => $4)
	ORDER BY leased_until, seq LIMIT $1 FOR UPDATE SKIP LOCKED
), leased AS (
	UPDATE fanmail.outbox AS o
	SET publishes = least(o.publishes + 1, 1000),
	    leased_until = now() + make_interval(secs => least($2 * 2 ^ least(o.publishes, 10), $3))
	FROM (SELECT unnest(ARRAY(SELECT at FROM due)) LIMIT $1) AS due (at) WHERE o.ctid = due.at
	RETURNING o.tenant_id, o.seq, o.event_id, o.created_at, o.publishes
)
SELECT l.tenant_id, l.seq, l.event_id, l.created_at, l.publishes, extract(epoch FROM now() - l.created_at)::float8, ` + entryColumns + `
FROM leased AS l LEFT JOIN LATERAL (
	SELECT * FROM fanmail.events
	WHERE tenant_id = l.tenant_id AND id = l.event_id AND created_at = l.created_at AND created_at >= '{day}' AND created_at < '{next day}' LIMIT 1
) AS e ON true CROSS JOIN (SELECT set_config('synchronous_commit', 'off', true)) AS unsynced ORDER BY l.seq`

// rowOfKey is a query, to stand in a LATERAL, for where the outbox row of the key
// u (tenant_id, seq) lies; its column "at" says so. The range holds one key, for which
// only the primary key's index fits, whatever the statistics say.
const rowOfKey = `SELECT ctid AS at, event_id, created_at FROM fanmail.outbox
	WHERE (tenant_id, seq) >= (u.tenant_id, u.seq) AND (tenant_id, seq) <= (u.tenant_id, u.seq) LIMIT 1`

// This updates rows as [leaseRows] does: the outbox is long when the broker is
// down.
const releaseRows = `
UPDATE fanmail.outbox AS o SET leased_until = '-infinity' FROM (
	SELECT unnest(ARRAY(SELECT r.at FROM unnest($1::uuid[], $2::bigint[]) AS u (tenant_id, seq) CROSS JOIN LATERAL (` + rowOfKey + `) AS r)) LIMIT cardinality($2)
) AS given (at) WHERE o.ctid = given.at`

const eventsOfOtherDays = `
SELECT w.n, ` + entryColumns + `
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) WITH ORDINALITY AS w (tenant_id, id, created_at, n) CROSS JOIN LATERAL (
	SELECT * FROM fanmail.events
	WHERE tenant_id = w.tenant_id AND id = w.id AND created_at = w.created_at LIMIT 1
) AS e`

// Due reports whether a row can be leased. It costs a fraction of [Lease].
func Due(ctx context.Context, db pg.DB) (bool, error) {
	var some bool
	err := db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.outbox WHERE leased_until <= now())`).Scan(&some)
	if err != nil {
		return false, fmt.Errorf("look at the outbox: %w", err)
	}
	return some, nil
}

// Lease leases up to limit rows and returns them with their events, in the order
// of the sequence. A row whose event is past its retention is leased and left
// out. The commit does not wait for the disk: if a crash of Postgres undoes a
// lease, the event is published twice and fanned out once.
func Lease(ctx context.Context, db pg.DB, limit int) ([]Entry, error) {
	return lease(ctx, db, limit, 0)
}

// TakeOver does the same with rows whether they are leased or not, those without
// a lease first. It is for a caller that knows of another way than the broker.
func TakeOver(ctx context.Context, db pg.DB, limit int) ([]Entry, error) {
	return lease(ctx, db, limit, MaxLease+time.Second)
}

// lease leases rows whose present lease ends within left.
func lease(ctx context.Context, db pg.DB, limit int, left time.Duration) ([]Entry, error) {
	var list []Entry
	b := &pgx.Batch{}
	today := pg.DayOf(time.Now())
	b.Queue(pg.Between(leaseRows, today-1, today+2), limit, FirstLease.Seconds(), MaxLease.Seconds(), left.Seconds()).Query(func(rows pgx.Rows) (err error) {
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Entry, err error) {
			var age float64
			err = row.Scan(append([]any{&e.TenantID, &e.Seq, &e.ID, &e.CreatedAt, &e.Publishes, &age}, e.fields()...)...)
			e.Age = time.Duration(max(age, 0) * float64(time.Second))
			return e, err
		})
		return err
	})
	if err := db.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("lease outbox rows: %w", err)
	}
	return readMissing(ctx, db, list)
}

// readMissing reads the events that [leaseRows] did not find in its days, and
// drops the entries whose events are gone.
func readMissing(ctx context.Context, db pg.DB, list []Entry) ([]Entry, error) {
	var tenants []events.TenantID
	var ids []events.ID
	var created []time.Time
	var at []int
	for i := range list {
		if e := &list[i]; e.Type == "" {
			tenants, ids, created, at = append(tenants, e.TenantID), append(ids, e.ID), append(created, e.CreatedAt), append(at, i)
		}
	}
	if len(at) == 0 {
		return list, nil
	}
	found, err := db.Query(ctx, eventsOfOtherDays, tenants, ids, created)
	if err != nil {
		return nil, fmt.Errorf("read waiting events: %w", err)
	}
	defer found.Close()
	for found.Next() {
		var n int
		var e Entry
		if err := found.Scan(append([]any{&n}, e.fields()...)...); err != nil {
			return nil, fmt.Errorf("read waiting events: %w", err)
		}
		to := &list[at[n-1]]
		to.Type, to.AgentID, to.ConversationID, to.MessageID, to.Labels = e.Type, e.AgentID, e.ConversationID, e.MessageID, e.Labels
		to.Envelope, to.Traceparent = e.Envelope, e.Traceparent
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read waiting events: %w", err)
	}
	return slices.DeleteFunc(list, func(e Entry) bool { return e.Type == "" }), nil
}

// Release ends the leases of the entries, so that they can be leased at once.
func Release(ctx context.Context, db pg.DB, entries []Entry) error {
	tenants, seqs := make([]events.TenantID, len(entries)), make([]int64, len(entries))
	for i := range entries {
		tenants[i], seqs[i] = entries[i].TenantID, entries[i].Seq
	}
	if _, err := db.Exec(ctx, releaseRows, tenants, seqs); err != nil {
		return fmt.Errorf("release outbox rows: %w", err)
	}
	return nil
}

// Position is a place in the outbox, which [Page] reads in this order. The zero
// value is its beginning.
type Position struct {
	TenantID events.TenantID
	Seq      int64
}

// Drawn returns the highest sequence number drawn so far.
func Drawn(ctx context.Context, db pg.DB) (int64, error) {
	var last int64
	if err := db.QueryRow(ctx, lastDrawn).Scan(&last); err != nil {
		return 0, fmt.Errorf("read the outbox's sequence: %w", err)
	}
	return last, nil
}

const pageOfRows = `SELECT tenant_id, seq, event_id, created_at, publishes FROM fanmail.outbox
	WHERE (tenant_id, seq) > ($1, $2) AND seq <= $3 ORDER BY tenant_id, seq LIMIT $4`

// Page reads up to limit rows after a position whose sequence is at most last,
// whether they are leased or not, with their events. It takes no lease: callers
// that delete rows by [QueueTake] need none. It returns the position of the last
// row, and false if that was the end. Rows whose events are past their retention
// are left out.
func Page(ctx context.Context, db pg.DB, after Position, last int64, limit int) ([]Entry, Position, bool, error) {
	// A zero id as a value would be sent as NULL.
	rows, err := db.Query(ctx, pageOfRows, [16]byte(after.TenantID), after.Seq, last, limit)
	if err != nil {
		return nil, after, false, fmt.Errorf("read outbox rows: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Entry, err error) {
		err = row.Scan(&e.TenantID, &e.Seq, &e.ID, &e.CreatedAt, &e.Publishes)
		return e, err
	})
	if err != nil {
		return nil, after, false, fmt.Errorf("read outbox rows: %w", err)
	}
	more := len(list) == limit
	if n := len(list); n > 0 {
		after = Position{list[n-1].TenantID, list[n-1].Seq}
	}
	list, err = readMissing(ctx, db, list)
	return list, after, more, err
}
