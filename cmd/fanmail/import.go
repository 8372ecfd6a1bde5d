package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/importe2a"
)

type importCmd struct {
	E2A    importE2A    `cmd:"" name:"e2a" help:"Import tenants, keys, agents, webhooks, events, mails and deliveries from e2a's database." example:"fanmail import e2a --from postgres://e2a@db.example.com/e2a --dry-run"`
	Tenant importTenant `cmd:"" help:"Import what 'fanmail export' has written into a tenant, whole or not at all." example:"fanmail import tenant acme.jsonl --tenant ten_adc7fce8dd71a9ff092a905e3b48f4fa --dry-run"`
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
	if databaseOrDir(s, &c.Database, &c.Secrets) {
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
	var rows []map[string]any
	for _, row := range r.Rows {
		rows = append(rows, map[string]any{
			"what": row.What, "there": row.There, "here": row.Here, "new": row.Added, "left": row.Left, "out": row.Out, "missing": row.Missing(),
		})
	}
	err := s.printTable(rows, []column{
		{"", "what"},
		{"IN E2A", "there"},
		{"HERE", "here"},
		{"NEW", "new"},
		{"LEFT TO E2A", "left"},
		{"LEFT OUT", "out"},
		{"MISSING", "missing"},
	})
	if err != nil {
		return err
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
