package activity

import (
	"slices"
	"time"
)

const (
	// tableSize is the most rows of a table without attempts in flight.
	tableSize = 8192
	// sampled is how many rows are compared to find one to forget. Go begins to read a map at
	// a random place.
	sampled = 16
)

// lengths are the windows for which a table counts, by their names.
var lengths = [...]struct {
	name   string
	length time.Duration
}{{"1m", time.Minute}, {"5m", 5 * time.Minute}}

// Windows are the names of the windows of a [Request].
func Windows() []string {
	var names []string
	for _, l := range lengths {
		names = append(names, l.name)
	}
	return names
}

// line is what a table knows of one name.
type line struct {
	tenant   string
	inFlight int
	windows  [len(lengths)]sliding
}

// table counts by name. If it is full, a new name takes the place of a name that was least active
// among some: who is more active than most stays. Rows with attempts in flight stay too.
type table struct{ lines map[string]*line }

// line returns the row of a name, and adds it if there is none.
func (t *table) line(name, tenant string, now time.Time) *line {
	l := t.lines[name]
	if l != nil {
		return l
	}
	if len(t.lines) >= tableSize {
		t.forget(now)
	}
	l = &line{tenant: tenant}
	t.lines[name] = l
	return l
}

// forget deletes the least active of some rows.
func (t *table) forget(now time.Time) {
	n, least, victim := 0, 0.0, ""
	for name, l := range t.lines {
		if l.inFlight == 0 {
			const last = len(lengths) - 1
			r := l.windows[last].rates(now, lengths[last].length)
			// A failure counts as several attempts, so that a webhook that only fails stays in sight.
			if weight := r.Events + r.Attempts + 8*r.Failures; victim == "" || weight < least {
				least, victim = weight, name
			}
		}
		if n++; n == sampled {
			break
		}
	}
	delete(t.lines, victim)
}

func (l *line) count(now time.Time, c Count) {
	for i := range l.windows {
		l.windows[i].count(now, lengths[i].length, c)
	}
}

// top returns the first rows of an order, and forgets rows without activity.
func (t *table) top(now time.Time, window int, order string, limit int) []Row {
	var rows []Row
	for name, l := range t.lines {
		r := Row{Name: name, Tenant: l.tenant, InFlight: l.inFlight, Rates: l.windows[window].rates(now, lengths[window].length)}
		if r.InFlight == 0 && r.Rates == (Rates{}) {
			if last := len(lengths) - 1; l.windows[last].rates(now, lengths[last].length) == (Rates{}) {
				delete(t.lines, name)
			}
			continue
		}
		rows = append(rows, r)
	}
	SortRows(rows, order)
	return slices.Clip(rows[:min(limit, len(rows))])
}
