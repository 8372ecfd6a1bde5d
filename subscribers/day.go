package subscribers

import (
	"cmp"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// ofDay stands in statements for the bounds of a day.
const ofDay = `d.created_at >= '{day}' AND d.created_at < '{next day}'`

// few leaves all of a statement's keys and has the planner expect a tenth of
// them, one. It makes the plan on a day's first row, and the connection keeps
// it: with ten keys expected, and an empty partition, reading that whole looks
// cheaper than looking each key up, and goes on when the partition is full.
const few = `LIMIT cardinality($1)`

// eachDay calls queue with the rows of each day, the earliest first.
func eachDay[T any](rows []T, createdAt func(T) time.Time, queue func(pg.Day, []T)) {
	byDay := func(a, b T) int { return cmp.Compare(pg.DayOf(createdAt(a)), pg.DayOf(createdAt(b))) }
	if !slices.IsSortedFunc(rows, byDay) {
		rows = slices.Clone(rows)
		slices.SortStableFunc(rows, byDay)
	}
	for len(rows) > 0 {
		d := pg.DayOf(createdAt(rows[0]))
		n := 1
		for n < len(rows) && pg.DayOf(createdAt(rows[n])) == d {
			n++
		}
		queue(d, rows[:n])
		rows = rows[n:]
	}
}
