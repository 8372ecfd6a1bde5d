package importe2a

import (
	"fmt"
	"maps"
	"slices"
)

// Row counts the rows of one kind.
type Row struct {
	What string `json:"what"`
	// There is how many e2a has, of the last 30 days where they have a time.
	There int64 `json:"there"`
	// Here is how many of them Fanmail has.
	Here int64 `json:"here"`
	// Added is how many of them are new with this pass, or have ended since the last one.
	Added int64 `json:"added"`
	// Left is how many e2a will still send itself; see [Options.Follow].
	Left int64 `json:"left_to_e2a"`
	// Out is how many can't be imported; [Report.Notes] and [Report.Problems] say why.
	Out int64 `json:"left_out"`
}

// Missing is how many rows should be here and are not.
func (r *Row) Missing() int64 { return max(r.There-r.Here-r.Left-r.Out, 0) }

// Report is what a pass or a check found.
type Report struct {
	// Release is e2a's: "v0.4" or "later than v0.4".
	Release string `json:"release"`
	Rows    []*Row `json:"rows"`
	// Problems are rows that can't be imported as they are, with what becomes of them.
	Problems []string `json:"problems"`
	// Notes are what an operator should know.
	Notes []string `json:"notes"`

	problems, notes map[string]int
}

// Missing is how many rows of all kinds should be here and are not.
func (r *Report) Missing() (n int64) {
	for _, row := range r.Rows {
		n += row.Missing()
	}
	return n
}

// row returns the row of a kind.
func (r *Report) row(what string) *Row {
	for _, row := range r.Rows {
		if row.What == what {
			return row
		}
	}
	row := &Row{What: what}
	r.Rows = append(r.Rows, row)
	return row
}

// maxListed bounds the problems that are listed one by one.
const maxListed = 50

// problem adds a problem that names a row.
func (r *Report) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if r.problems == nil {
		r.problems = map[string]int{}
	}
	r.problems[text]++
}

// note counts rows with the same note; the text has one %d for their number.
func (r *Report) note(format string) { r.noteRows(format, 1) }

// noteRows counts n rows with the same note.
func (r *Report) noteRows(format string, n int64) {
	if r.notes == nil {
		r.notes = map[string]int{}
	}
	r.notes[format] += int(n)
}

// finish writes the lists.
func (r *Report) finish() {
	r.Problems, r.Notes = []string{}, []string{}
	for _, p := range slices.Sorted(maps.Keys(r.problems)) {
		if len(r.Problems) == maxListed {
			r.Problems = append(r.Problems, fmt.Sprintf("and %d more", len(r.problems)-maxListed))
			break
		}
		r.Problems = append(r.Problems, p)
	}
	for _, format := range slices.Sorted(maps.Keys(r.notes)) {
		r.Notes = append(r.Notes, fmt.Sprintf(format, r.notes[format]))
	}
}
