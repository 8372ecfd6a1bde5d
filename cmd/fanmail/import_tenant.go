package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type importTenant struct {
	app.ImportTenant
	JSON bool `help:"Print the report as JSON."`
}

// Run imports a tenant's export, whole or not at all.
func (c *importTenant) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	if databaseOrDir(s, &c.Database, &c.Secrets) {
		c.Outbound = app.UpOutbound()
	}
	said := &said{s: s, lines: map[string]bool{}}
	report, err := app.ImportTenantFrom(ctx, c.ImportTenant, func(done, total int64) { said.progress("events", done, total) }, log)
	if err != nil {
		return fmt.Errorf("nothing was imported: %w", err)
	}
	if c.JSON {
		text, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("encode the report: %w", err)
		}
		s.say("%s", text)
		return nil
	}
	var rows []map[string]any
	for _, row := range report.Rows {
		rows = append(rows, map[string]any{"what": strings.ReplaceAll(row.What, "_", " "), "there": row.There, "new": row.Added, "here": row.Here, "old": row.Old})
	}
	err = s.printTable(rows, []column{
		{"", "what"},
		{"IN THE FILE", "there"},
		{"NEW", "new"},
		{"HERE ALREADY", "here"},
		{"TOO OLD", "old"},
	})
	if err != nil {
		return err
	}
	for _, w := range report.Webhooks {
		s.say("%s  %s", w.ID, w.URL)
		if w.SigningSecret != "" {
			s.say("  new signing secret, shown only now: %s", w.SigningSecret)
		}
		if len(w.Missing) > 0 {
			s.say("  not set, because the file has no secrets: %s", printable(strings.Join(w.Missing, ", ")))
		}
	}
	switch {
	case c.DryRun:
		s.say("nothing was changed")
	case len(report.Webhooks) > 0:
		s.say("the import is complete; new webhooks are paused until you resume them")
	default:
		s.say("the import is complete")
	}
	return nil
}
