package main

import (
	"slices"
	"strings"
	"time"
)

// times are the fields with a time whose names do not say so.
var times = []string{"at", "since", "until", "oldest_due", "next_due", "start", "started", "oldest", "seen", "date"}

// isTime says whether a field of the API has a time.
func isTime(field string) bool {
	return strings.HasSuffix(field, "_at") || strings.HasSuffix(field, "_until") || slices.Contains(times, field)
}

// localTime is a time of the API (RFC 3339) in this machine's zone, to the second. Another value is shown as it is.
func localTime(v any) string {
	return inZone(v, func(time.Time) string { return "2006-01-02 15:04:05 MST" })
}

// shortTime is localTime for tables: the time of today, the day and the time of this year, the day of others.
func shortTime(v any, now time.Time) string {
	return inZone(v, func(at time.Time) string {
		now := now.In(at.Location())
		switch {
		case at.Year() == now.Year() && at.YearDay() == now.YearDay():
			return "15:04:05 MST"
		case at.Year() == now.Year():
			return "Jan _2 15:04 MST"
		}
		return "2006-01-02 MST"
	})
}

func inZone(v any, layout func(time.Time) string) string {
	text, _ := v.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return cell(v)
	}
	at = at.Local()
	return at.Format(layout(at))
}
