package pg

import (
	"strings"
	"time"
)

// Day is a UTC day, counted from 1970-01-01. Tables partitioned by day have one partition
// for it.
type Day int64

// DayOf returns the UTC day of a time.
func DayOf(t time.Time) Day {
	const length = int64(24 * time.Hour / time.Second)
	d := t.Unix() / length
	if t.Unix()%length < 0 {
		d--
	}
	return Day(d)
}

// Start is the first moment of the day.
func (d Day) Start() time.Time { return time.Unix(int64(d)*24*60*60, 0).UTC() }

// In replaces {day} and {next day} in a statement by the day's bounds. With literal bounds
// Postgres plans and locks one partition; with parameters, every run opens all of them.
func (d Day) In(statement string) string { return Between(statement, d, d+1) }

// Between is [Day.In] for the days from first up to, but not including, before.
func Between(statement string, first, before Day) string {
	at := func(d Day) string { return d.Start().Format(time.RFC3339) }
	return strings.ReplaceAll(strings.ReplaceAll(statement, "{day}", at(first)), "{next day}", at(before))
}
