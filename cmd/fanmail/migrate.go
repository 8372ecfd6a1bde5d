package main

import (
	"context"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type migrateCmd struct {
	app.Database
	app.Waiting
	app.Logging
	Grants bool `env:"FANMAIL_GRANTS" help:"Also grant the rights of the processes' roles. deploy/postgres/roles.sql creates the roles."`
}

// Run migrates the schema. It waits until the database is available.
func (c *migrateCmd) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	version, err := app.Migrate(ctx, c.Database, c.Waiting, c.Grants, log)
	if err != nil {
		return err
	}
	s.say("the schema is at version %d", version)
	return nil
}

type maintainCmd struct {
	app.Database
	app.Waiting
	app.Logging
	app.Retention
	Every    time.Duration `help:"Repeat the maintenance at this interval. Defaults to one round."`
	HTTPAddr string        `name:"http-addr" env:"FANMAIL_HTTP_ADDR" default:"off" help:"Address of /healthz, /readyz and /metrics. Needs --every."`
}

// Run does one round of maintenance, or rounds until ctx ends.
func (c *maintainCmd) Run(ctx context.Context) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	defer c.Follow(ctx, log)()
	return app.Maintain(ctx, c.Database, c.Every, c.Retention, app.Lifecycle{HTTPAddr: c.HTTPAddr, Waiting: c.Waiting}, log)
}

type streamsCmd struct {
	app.NATS
	app.Waiting
	app.Logging
	IntakeTenants []string      `name:"intake-tenants" env:"FANMAIL_INTAKE_TENANTS" sep:"," placeholder:"TENANT,…" help:"Tenants whose producers have a NATS account of their own (fanmail nats-user): each gets an intake stream of its own, with a bound of its own. Streams that exist already stay."`
	Every         time.Duration `help:"Repeat it at this interval, so that streams which the broker loses are created again. Defaults to one round."`
}

// Run creates or updates the broker's streams once, or again and again until ctx
// ends. It waits until the broker is available.
func (c *streamsCmd) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	if err := app.MakeStreams(ctx, c.NATS, c.IntakeTenants, c.Every, c.Waiting, log); err != nil {
		return err
	}
	s.say("the streams are up to date")
	return nil
}
