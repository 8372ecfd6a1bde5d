package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/importe2a"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

type importCmd struct {
	E2A importE2A `cmd:"" name:"e2a" help:"Import tenants, keys, agents, webhooks, events, mails and deliveries from e2a's database."`
}

type importE2A struct {
	app.ImportE2A
	JSON bool `help:"Print the report as JSON."`
}

// Run imports, or compares. An interrupted import goes on when it is run again.
func (c *importE2A) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	orDir(s, &c.Secrets)
	if creds, err := credentials(s); err == nil && c.URL == "" {
		c.URL = secret.Text(creds.DatabaseURL)
		c.Outbound = app.UpOutbound()
	}
	var last *importe2a.Report
	said := &said{s: s, lines: map[string]bool{}}
	err = app.ImportFromE2A(ctx, c.ImportE2A, app.ImportHooks{
		Found: func(r *importe2a.Report) {
			s.note("e2a " + r.Release)
			said.remarks(r)
		},
		Progress: said.progress,
		Passed: func(r *importe2a.Report) {
			last = r
			if c.Follow && !c.Once {
				said.remarks(r)
				said.once("a pass is complete; following e2a until interrupted")
			}
		},
	}, log)
	if last != nil && err == nil {
		if err := c.print(s, last); err != nil {
			return err
		}
		said.remarks(last)
	}
	switch {
	case errors.Is(err, importe2a.ErrProblems):
		return errors.New("nothing was imported: the report has problems; solve them, or add --accept")
	case err != nil && ctx.Err() != nil:
		return errors.New("stopped: what was imported stays; run the command again to go on")
	case err != nil:
		return err
	case c.Check && last.Missing() > 0:
		return fmt.Errorf("%d rows of e2a are missing here", last.Missing())
	}
	return nil
}

// print prints a report.
func (c *importE2A) print(s *session, r *importe2a.Report) error {
	if c.JSON {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode the report: %w", err)
		}
		s.say("%s", text)
		return nil
	}
	lines := [][]string{{"", "IN E2A", "HERE", "NEW", "LEFT TO E2A", "LEFT OUT", "MISSING"}}
	for _, row := range r.Rows {
		lines = append(lines, []string{row.What, number(row.There), number(row.Here), number(row.Added), number(row.Left), number(row.Out), number(row.Missing())})
	}
	for _, line := range fit(lines, 1000) {
		s.say("%s", strings.TrimRight(strings.Join(line, gap), " "))
	}
	switch {
	case c.DryRun:
		s.say("nothing was changed")
	case c.Check && r.Missing() == 0:
		s.say("everything that e2a has is here")
	case !c.Check:
		s.say("the import is complete")
	}
	return nil
}

func number(n int64) string { return fmt.Sprint(n) }

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
