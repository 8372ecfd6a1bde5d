package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

type doctorCmd struct {
	app.DoctorConfig
	JSON bool `name:"json" help:"Print the findings as JSON."`
}

// errUnhealthy makes the exit code 1.
var errUnhealthy = errors.New("a check failed; the fixes are above")

// Run prints the findings. It returns an error if a check failed.
func (c *doctorCmd) Run(ctx context.Context, s *session) error {
	if creds, err := credentials(s); err == nil {
		if c.Database.URL == "" {
			c.Database.URL = secret.Text(creds.DatabaseURL)
		}
		if c.NATS.URL == "" {
			c.NATS.URL = secret.Text(creds.NATSURL)
		}
	}
	orDir(s, &c.Secrets)
	if c.Domain != "" && !c.JSON {
		c.Waiting = func(what string) { s.note("waiting for " + printable(what)) }
	}
	found := app.Diagnose(ctx, c.DoctorConfig)
	if ctx.Err() != nil { // what was interrupted would count as a fault
		return errors.New("stopped before everything was checked")
	}
	healthy := true
	for _, f := range found {
		healthy = healthy && f.Status != app.FindingFail
	}
	if c.JSON {
		b, err := json.Marshal(map[string]any{"ok": healthy, "findings": found})
		if err != nil {
			return fmt.Errorf("encode the findings: %w", err)
		}
		if err := s.printJSON(b); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			s.say("%s  %s: %s", s.paint(tones[f.Status], fmt.Sprintf("%-4s", f.Status)), printable(f.Check), printable(f.Detail))
			if f.Fix != "" {
				s.say("      → %s", printable(f.Fix))
			}
		}
	}
	if !healthy {
		return errUnhealthy
	}
	return nil
}
