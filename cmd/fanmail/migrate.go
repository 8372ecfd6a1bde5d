package main

import (
	"context"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type migrateCmd struct {
	app.Database
	app.Logging
	Grants bool `env:"FANMAIL_GRANTS" help:"Also give the processes' roles their rights; deploy/postgres/roles.sql makes the roles."`
}

// Run brings the schema up to date; it waits for a database that is away.
func (c *migrateCmd) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	version, err := app.Migrate(ctx, c.Database, c.Grants, log)
	if err != nil {
		return err
	}
	s.say("the schema is at version %d", version)
	return nil
}

type maintainCmd struct {
	app.Database
	app.Logging
	Every    time.Duration `help:"Again and again, this often; without it once."`
	HTTPAddr string        `name:"http-addr" env:"FANMAIL_HTTP_ADDR" default:"off" help:"Address of /healthz, /readyz and /metrics, with --every."`
}

// Run does one round of maintenance, or one after the other.
func (c *maintainCmd) Run(ctx context.Context) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	defer c.Follow(ctx, log)()
	return app.Maintain(ctx, c.Database, c.Every, app.Lifecycle{HTTPAddr: c.HTTPAddr}, log)
}

type streamsCmd struct {
	app.NATS
	app.Logging
}

// Run makes the broker's streams; it waits for a broker that is away.
func (c *streamsCmd) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	if err := app.MakeStreams(ctx, c.NATS, log); err != nil {
		return err
	}
	s.say("the streams are as they should be")
	return nil
}
