package outbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Logged is an event of the log with its envelope. Its Seq is negative if replays leave it out.
type Logged struct {
	events.Record
	Envelope []byte
}

// Bounds of one call of [ReadLogged].
const (
	// LoggedRows is how many events it returns.
	LoggedRows = 500
	// LoggedBytes is how many bytes of envelopes it returns; the envelope that exceeds it is the last one.
	LoggedBytes = 1 << 20
)

// The size of an envelope is known without reading it, so that only the envelopes of the page are read.
const readLogged = `
SELECT ` + recordColumns + `, envelope FROM (
	SELECT *, sum(size) OVER (ORDER BY created_at, id ROWS UNBOUNDED PRECEDING) - size AS before FROM (
		SELECT *, octet_length(envelope) AS size FROM fanmail.events
		WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $4 AND (created_at, id) > ($2, $3)
		ORDER BY created_at, id LIMIT $5
	) AS page
) AS sized WHERE before < $6 ORDER BY created_at, id`

// ReadLogged returns the tenant's next events with their envelopes, oldest first: those created from since on and before
// until that come after an event. after is nil for the first call; its ID and CreatedAt are used. No events mean the end.
func ReadLogged(ctx context.Context, db pg.DB, tenant events.TenantID, since, until time.Time, after *events.Record) ([]Logged, error) {
	w := Window{Since: since}
	at, id := w.place(after)
	rows, err := db.Query(ctx, readLogged, tenant, at, id, until, LoggedRows, LoggedBytes)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Logged, err error) {
		err = row.Scan(append(recordFields(&l.Record), &l.Envelope)...)
		l.CreatedAt = l.CreatedAt.UTC()
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return list, nil
}

// The order makes the planner take the primary key of each partition, also of one that it knows nothing of yet. Two rows
// of an id are enough to say that one is another event.
const heldEvents = `
SELECT e.* FROM unnest($1::uuid[]) AS w (id)
CROSS JOIN LATERAL (SELECT id, created_at, tenant_id, sha256(envelope) FROM fanmail.events WHERE id = w.id ORDER BY id, created_at LIMIT 2) AS e`

// Held says which of the events are in the log already: same is true for one that is there as it is given, and false for
// another event with its id, of whichever tenant and time.
func Held(ctx context.Context, db pg.DB, list []Imported) (same map[events.ID]bool, err error) {
	ids, given := make([]events.ID, len(list)), make(map[events.ID]*Imported, len(list))
	for i := range list {
		ids[i], given[list[i].ID] = list[i].ID, &list[i]
	}
	rows, err := db.Query(ctx, heldEvents, ids)
	if err != nil {
		return nil, fmt.Errorf("look for events with these ids: %w", err)
	}
	same = map[events.ID]bool{}
	var id events.ID
	var created time.Time
	var tenant events.TenantID
	var digest []byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &created, &tenant, &digest}, func() error {
		want := given[id]
		sum := sha256.Sum256(want.Envelope)
		known, twice := same[id]
		same[id] = (known || !twice) && created.Equal(want.CreatedAt) && tenant == want.TenantID && string(digest) == string(sum[:])
		return nil
	}); err != nil {
		return nil, fmt.Errorf("look for events with these ids: %w", err)
	}
	return same, nil
}
