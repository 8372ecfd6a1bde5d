package pg

import (
	"strings"
	"time"
)

// Day is a UTC day, counted from 1970, and with it a partition of each table
// that is partitioned by day.
type Day int64

// DayOf returns the day of a time.
func DayOf(t time.Time) Day {
	const length = int64(24 * time.Hour / time.Second)
	d := t.Unix() / length
	if t.Unix()%length < 0 {
		d--
	}
	return Day(d)
}

// In puts the day's bounds into a statement, in the places of {day} and
// {next day}. As literals they leave one partition in the plan, and one to
// lock; with parameters each run opens all of them.
func (d Day) In(statement string) string { return Between(statement, d, d+1) }

// Between is [Day.In] for the days from first to before, which is left out.
func Between(statement string, first, before Day) string {
	at := func(d Day) string { return time.Unix(int64(d)*24*60*60, 0).UTC().Format(time.RFC3339) }
	return strings.NewReplacer("{day}", at(first), "{next day}", at(before)).Replace(statement)
}
