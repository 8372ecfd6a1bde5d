package main

import (
	"context"

	"github.com/fanmail-dev/fanmail/app"
)

type migrateCmd struct {
	app.Database
	app.Logging
}

// Run brings the schema up to date; it waits for a database that is away.
func (c *migrateCmd) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	version, err := app.Migrate(ctx, c.Database, log)
	if err != nil {
		return err
	}
	s.say("the schema is at version %d", version)
	return nil
}
