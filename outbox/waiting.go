package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// MaxWaiting is the most events that [Waiting] counts.
const MaxWaiting = 10_000

// Waiting counts the tenant's events that are not fanned out yet, up to
// [MaxWaiting], and gives the creation time of the oldest: zero if there is none.
func Waiting(ctx context.Context, db pg.DB, tenant events.TenantID) (n int, oldest time.Time, err error) {
	var at *time.Time
	err = db.QueryRow(ctx, `SELECT count(*), min(created_at) FROM (
		SELECT created_at FROM fanmail.outbox WHERE tenant_id = $1 ORDER BY seq LIMIT $2) AS waiting`, tenant, MaxWaiting).Scan(&n, &at)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("count waiting events: %w", err)
	}
	if at != nil {
		oldest = at.UTC()
	}
	return n, oldest, nil
}

// Queued is an event's place in the outbox.
type Queued struct {
	Publishes   int        // how often the publisher has published it
	LeasedUntil *time.Time // when the publisher publishes it again; nil: as soon as it can
}

// InOutbox returns an event's place in the outbox; nil if it is not there: it was fanned out, or never was to be.
func InOutbox(ctx context.Context, db pg.DB, ev *events.Record) (*Queued, error) {
	var q Queued
	err := db.QueryRow(ctx, `SELECT publishes, CASE WHEN leased_until > now() THEN leased_until END FROM fanmail.outbox
		WHERE tenant_id = $1 AND seq = $2 AND event_id = $3`, ev.TenantID, max(ev.Seq, -ev.Seq), ev.ID).Scan(&q.Publishes, &q.LeasedUntil)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for an event in the outbox: %w", err)
	}
	return &q, nil
}

// WaitsBefore reports whether an event of the tenant that was created before the
// time is not fanned out yet.
func WaitsBefore(ctx context.Context, db pg.DB, tenant events.TenantID, before time.Time) (bool, error) {
	var waits bool
	err := db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.outbox WHERE tenant_id = $1 AND created_at < $2)`, tenant, before).Scan(&waits)
	if err != nil {
		return false, fmt.Errorf("look for waiting events: %w", err)
	}
	return waits, nil
}

// OldestWaiting returns the age of the oldest event that is not fanned out yet,
// by the database's clock: zero if there is none. It looks at the first 1,000
// rows to be published.
func OldestWaiting(ctx context.Context, db pg.DB) (time.Duration, error) {
	return age(ctx, db, `SELECT coalesce(extract(epoch FROM now() - (
		SELECT min(created_at) FROM (SELECT created_at FROM fanmail.outbox ORDER BY leased_until, seq LIMIT 1000) AS o)), 0)::float8`)
}

// OldestDue returns the age of an event that waits to be published, by the
// database's clock: zero if there is none. It reads the first row of an index.
// Rows that were never published come first there, so it is the oldest as a rule.
func OldestDue(ctx context.Context, db pg.DB) (time.Duration, error) {
	return age(ctx, db, `SELECT coalesce((SELECT extract(epoch FROM clock_timestamp() - created_at)
		FROM fanmail.outbox WHERE leased_until <= now() ORDER BY leased_until, seq LIMIT 1), 0)::float8`)
}

func age(ctx context.Context, db pg.DB, query string) (time.Duration, error) {
	var seconds float64
	if err := db.QueryRow(ctx, query).Scan(&seconds); err != nil {
		return 0, fmt.Errorf("look for the oldest waiting event: %w", err)
	}
	return time.Duration(max(seconds, 0) * float64(time.Second)), nil
}

// A row without a lease that was published is one that a publisher released: the
// broker did not take its event. Each branch reads one row of an index.
const undelivered = `
SELECT coalesce((SELECT publishes > 0 OR $1 AND created_at < now() - make_interval(secs => $2)
		FROM fanmail.outbox WHERE leased_until = '-infinity' ORDER BY leased_until, seq LIMIT 1), false)
	OR $1 AND EXISTS (SELECT 1 FROM fanmail.outbox WHERE leased_until > '-infinity' AND leased_until < now() + make_interval(secs => $3))`

// Undelivered reports whether the broker fails to deliver: whether it refused an
// event, or, if it is silent, whether an event has waited for longer than overdue.
// overdue must be less than [FirstLease].
func Undelivered(ctx context.Context, db pg.DB, silent bool, overdue time.Duration) (bool, error) {
	var some bool
	err := db.QueryRow(ctx, undelivered, silent, overdue.Seconds(), (FirstLease - overdue).Seconds()).Scan(&some)
	if err != nil {
		return false, fmt.Errorf("look for events that the broker does not deliver: %w", err)
	}
	return some, nil
}

// StillWaiting reports for each sequence of the tenant, in order, whether that
// event is not fanned out yet.
func StillWaiting(ctx context.Context, db pg.DB, tenant events.TenantID, seqs []int64) ([]bool, error) {
	rows, err := db.Query(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.outbox AS o WHERE o.tenant_id = $1 AND o.seq = u.seq OFFSET 0)
		FROM unnest($2::bigint[]) WITH ORDINALITY AS u (seq, n) ORDER BY n`, tenant, seqs)
	if err != nil {
		return nil, fmt.Errorf("look for waiting events: %w", err)
	}
	waits, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	if err != nil {
		return nil, fmt.Errorf("look for waiting events: %w", err)
	}
	return waits, nil
}

// WaitingOfAll counts the events of all tenants that are not fanned out yet, up to [MaxWaiting], and
// returns the age of the oldest of those: zero if there is none. It reads at most as many rows.
func WaitingOfAll(ctx context.Context, db pg.DB) (n int, more bool, oldest time.Duration, err error) {
	var seconds float64
	err = db.QueryRow(ctx, `SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM (
		SELECT created_at FROM fanmail.outbox ORDER BY leased_until, seq LIMIT $1) AS waiting`, MaxWaiting+1).Scan(&n, &seconds)
	if err != nil {
		return 0, false, 0, fmt.Errorf("count the waiting events of all tenants: %w", err)
	}
	return min(n, MaxWaiting), n > MaxWaiting, time.Duration(max(seconds, 0) * float64(time.Second)), nil
}
