package main

import (
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/internal/importe2a"
)

// said prints lines for people, each once.
type said struct {
	s     *session
	lines map[string]bool
	at    time.Time // of the last progress
}

func (w *said) once(line string) {
	if !w.lines[line] {
		w.lines[line] = true
		w.s.note(line)
	}
}

// remarks prints the problems and notes of a report.
func (w *said) remarks(r *importe2a.Report) {
	for _, p := range r.Problems {
		w.once("problem: " + p)
	}
	for _, n := range r.Notes {
		w.once("note: " + n)
	}
}

// progress prints how far a step has come: its end, and before that a line a second.
func (w *said) progress(what string, done, total int64) {
	if done == total || time.Since(w.at) > time.Second {
		w.at = time.Now()
		w.once(fmt.Sprintf("%s: %d of %d", what, done, total))
	}
}
