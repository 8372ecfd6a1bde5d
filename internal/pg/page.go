package pg

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Place is a row's place in a list that is ordered newest first. The zero value
// is the place before the first row.
type Place struct {
	CreatedAt time.Time
	ID        [16]byte
}

// Bound returns the place as two values for Postgres. The rows after the place are those
// with (created_at, id) less than the two values.
func (p Place) Bound() (pgtype.Timestamptz, pgtype.UUID) {
	if p.CreatedAt.IsZero() {
		var last [16]byte
		for i := range last {
			last[i] = 0xff
		}
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, pgtype.UUID{Bytes: last, Valid: true}
	}
	return timestamp(p.CreatedAt), pgtype.UUID{Bytes: p.ID, Valid: true}
}

// timestamp is a time for Postgres. One before 1970 or after 9999, which no row has, is
// infinite: Postgres could not store every such time.
func timestamp(t time.Time) pgtype.Timestamptz {
	switch {
	case t.Unix() < 0:
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	case t.UTC().Year() > 9999:
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: t, Valid: true}
}

// Range returns a time range as two values for Postgres. A zero bound is infinite.
func Range(since, until time.Time) (from, to pgtype.Timestamptz) {
	from, to = timestamp(since), timestamp(until) // a zero since is before 1970
	if until.IsZero() {
		to = pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	}
	return from, to
}
