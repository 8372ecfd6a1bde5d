package subscribers

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// day is a UTC day, counted from 1970, and with it a partition.
type day int64

func dayOf(createdAt int64) day {
	const length = int64(24 * time.Hour / time.Microsecond)
	d := createdAt / length
	if createdAt%length < 0 {
		d--
	}
	return day(d)
}

// ofDay stands in statements for the bounds of a day.
const ofDay = `d.created_at >= '{day}' AND d.created_at < '{next day}'`

// few leaves all of a statement's keys and has the planner expect a tenth of
// them, one. It makes the plan on a day's first row, and the connection keeps
// it: with ten keys expected, and an empty partition, reading that whole looks
// cheaper than looking each key up, and goes on when the partition is full.
const few = `LIMIT cardinality($1)`

// in puts the day's bounds into a statement. As literals they leave one
// partition in the plan, and one to lock. With parameters each run opens all of
// them.
func (d day) in(statement string) string {
	at := func(d day) string { return time.Unix(int64(d)*24*60*60, 0).UTC().Format(time.RFC3339) }
	return strings.NewReplacer("{day}", at(d), "{next day}", at(d+1)).Replace(statement)
}

// eachDay calls queue with the rows of each day, the earliest first.
func eachDay[T any](rows []T, createdAt func(T) int64, queue func(day, []T)) {
	byDay := func(a, b T) int { return cmp.Compare(dayOf(createdAt(a)), dayOf(createdAt(b))) }
	if !slices.IsSortedFunc(rows, byDay) {
		rows = slices.Clone(rows)
		slices.SortStableFunc(rows, byDay)
	}
	for len(rows) > 0 {
		d := dayOf(createdAt(rows[0]))
		n := 1
		for n < len(rows) && dayOf(createdAt(rows[n])) == d {
			n++
		}
		queue(d, rows[:n])
		rows = rows[n:]
	}
}
