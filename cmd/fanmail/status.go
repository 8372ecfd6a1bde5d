package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

type statusCmd struct {
	Database app.Database `embed:""`
	JSON     bool         `name:"json" help:"Print the processes as JSON."`
}

// errNotWell makes the exit code 1.
var errNotWell = errors.New("a process can't do its work; the remedies are above")

// Run prints a line for each process, and the last error of each of its components. It
// returns an error if a process can't do its work, or if none runs.
func (c *statusCmd) Run(ctx context.Context, s *session) error {
	if creds, err := credentials(s); err == nil && c.Database.URL == "" {
		c.Database.URL = secret.Text(creds.DatabaseURL)
	}
	list, stale := app.Standing(ctx, c.Database)
	if stale != nil && len(list) == 0 {
		return stale
	}
	failing, running := false, 0
	for i := range list {
		if list[i].Age <= health.Gone {
			running++
			failing = failing || health.Overall(list[i].Components) == health.Failing
		}
	}
	if c.JSON {
		b, err := json.Marshal(map[string]any{"ok": running > 0 && !failing && stale == nil, "processes": list})
		if err != nil {
			return fmt.Errorf("encode the processes: %w", err)
		}
		if err := s.printJSON(b); err != nil {
			return err
		}
	} else {
		for i := range list {
			s.showProcess(&list[i])
		}
	}
	switch {
	case stale != nil:
		return stale
	case running == 0:
		return errors.New("no process has been seen for " + health.Gone.String() + ": start one, or correct --database-url (FANMAIL_DATABASE_URL)")
	case failing:
		return errNotWell
	}
	return nil
}

// words are the texts of the states of a process, with their colours.
var words = map[health.Status]struct {
	text string
	tone tone
}{
	health.OK: {"ok", good}, health.Degraded: {"degraded", between}, health.Failing: {"failing", bad},
}

func (s *session) showProcess(p *health.Process) {
	word := words[health.Overall(p.Components)]
	if p.Age > health.Gone {
		word.text, word.tone = "gone", between
	}
	s.say("%s  %-10s  %s, %s, seen %s ago", s.paint(word.tone, fmt.Sprintf("%-8s", word.text)), p.Kind, printable(p.Name), printable(p.Version), p.Age.Round(time.Second))
	for i := range p.Components {
		c := &p.Components[i]
		if c.Error == "" {
			if p.Age <= health.Gone {
				s.say("          %-10s  %s", c.Name, c.Status)
			}
			continue
		}
		s.say("          %-10s  %s; last error %s ago: %s", c.Name, s.paint(words[c.Status].tone, string(c.Status)), p.Seen.Add(p.Age).Sub(c.LastError).Round(time.Second), printable(c.Why()))
		if c.Remedy != "" && c.Status != health.OK && p.Age <= health.Gone {
			s.say("                      → %s", c.Remedy)
		}
	}
}
