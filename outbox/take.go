package outbox

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// The rows are locked in order, so that two batches that hold the same events
// can't deadlock; the second finds them gone. They are found by [rowOfKey] and
// deleted by ctid from one array whose length the planner does not know, so that
// it has no other plan. With statistics from an empty outbox it would otherwise
// read the whole outbox for each event. The last result row says how many rows
// were locked.
const takeRows = `
WITH due AS MATERIALIZED (
	SELECT o.at FROM (SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS u (tenant_id, seq) ORDER BY tenant_id, seq) AS u
	CROSS JOIN LATERAL (` + rowOfKey + ` FOR UPDATE) AS o
), taken AS (
	DELETE FROM fanmail.outbox AS o USING (SELECT unnest(ARRAY(SELECT at FROM due)) LIMIT cardinality($2)) AS due (at)
	WHERE o.ctid = due.at RETURNING o.seq, o.uncounted
)
SELECT seq, coalesce(uncounted, 0) FROM taken UNION ALL SELECT 0, count(DISTINCT at) FROM due`

// ErrMoved means that a row was leased again between the snapshot of the
// statement and its lock. Nothing is lost: roll back and try again.
var ErrMoved = errors.New("an outbox row was leased again meanwhile")

// QueueTake adds to a batch the statement that deletes outbox rows, each named by
// its tenant and sequence. Read its result with [ReadTaken]. The transaction must
// also insert the deliveries of the events whose rows it deleted.
func QueueTake(b *pgx.Batch, tenants []events.TenantID, seqs []int64) {
	b.Queue(takeRows, tenants, seqs)
}

// ReadTaken reads the next result of a batch, that of [QueueTake]: the sequences
// of the rows that were there, each with the bytes that the caller counts for the
// event's tenant after the commit, 0 for nothing to count (see [Prepared.Counted]).
// A row that is missing was fanned out before. It returns an error that wraps [ErrMoved], after which the transaction must roll
// back.
func ReadTaken(results pgx.BatchResults) (map[int64]int64, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("take outbox rows: %w", err)
	}
	taken := map[int64]int64{}
	var seq, n, locked int64
	if _, err := pgx.ForEachRow(rows, []any{&seq, &n}, func() error {
		if seq == 0 {
			locked = n
		} else {
			taken[seq] = n
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("take outbox rows: %w", err)
	}
	if locked != int64(len(taken)) {
		return nil, fmt.Errorf("take outbox rows: %w", ErrMoved)
	}
	return taken, nil
}
