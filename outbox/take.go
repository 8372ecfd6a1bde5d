package outbox

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// The rows are locked in order, so that two batches that hold the same events
// can't deadlock; the second finds them gone. They are found by [rowOfKey] and
// deleted by ctid from one array whose length the planner does not know, so that
// it has no other plan. With statistics from an empty outbox it would otherwise
// read the whole outbox for each event. The last result row says how many rows
// were locked. A row of another event than the message's stays; its result has the
// event's negative sequence.
const takeRows = `
WITH due AS MATERIALIZED (
	SELECT o.at, o.event_id AS row_event, o.created_at AS row_created, u.seq, u.event_id, u.created_at
	FROM (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::timestamptz[]) AS u (tenant_id, seq, event_id, created_at) ORDER BY tenant_id, seq) AS u
	CROSS JOIN LATERAL (` + rowOfKey + ` FOR UPDATE) AS o
), own AS MATERIALIZED (
	SELECT due.at FROM due WHERE (due.event_id, due.created_at) = (due.row_event, due.row_created)
), taken AS (
	DELETE FROM fanmail.outbox AS o USING (SELECT unnest(ARRAY(SELECT at FROM own)) LIMIT cardinality($2)) AS own (at)
	WHERE o.ctid = own.at RETURNING o.event_id, o.seq, o.uncounted
)
SELECT event_id, seq, coalesce(uncounted, 0) FROM taken
UNION ALL SELECT event_id, -seq, 0 FROM due WHERE (event_id, created_at) <> (row_event, row_created)
UNION ALL SELECT NULL, 0, count(DISTINCT at) FROM own`

// ErrMoved means that a row was leased again between the snapshot of the
// statement and its lock. Nothing is lost: roll back and try again.
var ErrMoved = errors.New("an outbox row was leased again meanwhile")

// QueueTake adds to a batch the statement that deletes the outbox rows of events, each
// found by its tenant and sequence. A row stays if its event id or time of creation is
// another. Read its result with [ReadTaken]. The transaction must also insert the
// deliveries of the events whose rows it deleted.
func QueueTake(b *pgx.Batch, batch iter.Seq[*events.Record]) {
	var tenants []events.TenantID
	var seqs []int64
	var ids []events.ID
	var created []time.Time
	for e := range batch {
		tenants, seqs, ids, created = append(tenants, e.TenantID), append(seqs, e.Seq), append(ids, e.ID), append(created, e.CreatedAt)
	}
	b.Queue(takeRows, tenants, seqs, ids, created)
}

// Taken is the result of [QueueTake].
type Taken struct {
	// Bytes has the events whose rows were deleted, each with the bytes that the caller
	// counts for the event's tenant after the commit, 0 for nothing to count (see
	// [Prepared.Counted]). A row that is missing was fanned out before.
	Bytes map[events.ID]int64
	// Forged are the events whose tenant and sequence have the row of another event. No
	// relay published them.
	Forged []events.ID
}

// ReadTaken reads the next result of a batch, that of [QueueTake]. It returns an error
// that wraps [ErrMoved], after which the transaction must roll back.
func ReadTaken(results pgx.BatchResults) (Taken, error) {
	taken := Taken{Bytes: map[events.ID]int64{}}
	rows, err := results.Query()
	if err != nil {
		return taken, fmt.Errorf("take outbox rows: %w", err)
	}
	var id *events.ID
	var seq, n, locked int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &seq, &n}, func() error {
		switch {
		case id == nil:
			locked = n
		case seq < 0:
			taken.Forged = append(taken.Forged, *id)
		default:
			taken.Bytes[*id] = n
		}
		return nil
	}); err != nil {
		return taken, fmt.Errorf("take outbox rows: %w", err)
	}
	if locked != int64(len(taken.Bytes)) {
		return taken, fmt.Errorf("take outbox rows: %w", ErrMoved)
	}
	return taken, nil
}
