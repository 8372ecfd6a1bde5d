package subscribers

import (
	"cmp"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// ofDay is the condition by which a statement reads the partition of one day; see
// [pg.Day.In].
const ofDay = `d.created_at >= '{day}' AND d.created_at < '{next day}'`

// expectOne keeps all keys of a statement and makes the planner expect one. Without it
// the planner expects ten. On an empty partition it then chooses to read the whole
// partition, and the connection keeps that plan when the partition is full.
const expectOne = `LIMIT cardinality($1)`

// eachDay calls queue once for each day that has rows, with its rows, earliest day
// first.
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
