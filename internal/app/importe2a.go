package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/importe2a"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// ImportE2A configures an import from e2a.
type ImportE2A struct {
	Database
	Secrets
	Outbound
	Waiting
	Logging
	From          secret.Text   `name:"from" env:"FANMAIL_IMPORT_FROM" placeholder:"postgres://…" help:"e2a's database, of v0.4.0 or later. It is only read."`
	DryRun        bool          `help:"Read all of e2a and print the report; change nothing."`
	Check         bool          `help:"Compare what e2a and Fanmail have; change nothing. The exit code is 1 if something is missing."`
	Follow        bool          `help:"e2a still runs: leave to it what it will still send, and import what comes, until interrupted."`
	Once          bool          `help:"With --follow: one pass."`
	Every         time.Duration `default:"10s" help:"With --follow: the time between two passes."`
	Accept        bool          `help:"Import although the report has problems; it says what becomes of each."`
	Envelope      string        `default:"auto" enum:"auto,v0.4,current" help:"Envelope that new webhooks get: v0.4, current, or auto for that of e2a's newest event."`
	EnvelopeUntil string        `placeholder:"DATE" help:"Until when they get the envelope v0.4, such as 2027-03-01; defaults to 90 days from now."`
}

func (c *ImportE2A) validate() error {
	if err := firstError(c.Database.validate, c.Secrets.validate, c.Waiting.validate); err != nil {
		return err
	}
	switch {
	case c.From == "":
		return missing("--from", "FANMAIL_IMPORT_FROM", "the connection string of e2a's database")
	case c.DryRun && c.Check, c.Follow && (c.DryRun || c.Check):
		return errors.New("--dry-run, --check and --follow exclude each other")
	case c.Every <= 0:
		return errors.New("--every must be positive")
	}
	_, err := c.until(time.Now())
	return err
}

// until is the end of the envelope v0.4.
func (c *ImportE2A) until(now time.Time) (time.Time, error) {
	if c.EnvelopeUntil == "" {
		return now.Add(subscribers.EnvelopePeriod).UTC().Truncate(time.Second), nil
	}
	at, err := time.Parse(time.DateOnly, c.EnvelopeUntil)
	if err != nil {
		at, err = time.Parse(time.RFC3339, c.EnvelopeUntil)
	}
	if err != nil || !at.After(now) || at.Sub(now) > subscribers.MaxEnvelopePeriod {
		return at, fmt.Errorf("--envelope-until is %q; it must be a date within the next %.0f days, such as %s", c.EnvelopeUntil,
			subscribers.MaxEnvelopePeriod.Hours()/24, now.Add(subscribers.EnvelopePeriod).Format(time.DateOnly))
	}
	return at, nil
}

// ImportHooks are called while an import works.
type ImportHooks struct {
	Found    func(*importe2a.Report) // after the accounts were checked, before anything is written
	Progress func(what string, done, total int64)
	Passed   func(*importe2a.Report) // after each pass
}

// ImportFromE2A imports what an e2a database holds, or compares it with what is here; see package importe2a. It waits
// for Fanmail's database. With Follow it returns nil when ctx ends.
func ImportFromE2A(ctx context.Context, c ImportE2A, hooks ImportHooks, log *zap.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	keys, err := c.load(ctx)
	if err != nil {
		return advised(err)
	}
	starting, started := c.bound(ctx)
	defer started()
	pool, err := connectDatabase(starting, c.Database, newCondition("import", log), nil)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return keys.Check(ctx, tx) }); err != nil {
		return err
	}
	src, err := importe2a.Open(ctx, c.From)
	if err != nil {
		return fmt.Errorf("--from (FANMAIL_IMPORT_FROM): %w", err)
	}
	defer src.Close()
	limits := subscribers.Limits{AllowHTTP: c.AllowHTTP, AllowNetworks: c.AllowNetworks, AllowPorts: c.AllowPorts}
	o := importe2a.Options{
		Pool: pool, Store: subscribers.NewStore(pool, limits).WithKeyring(keys), Registry: subscribers.NewRegistry(pool, nil, log).WithKeyring(keys),
		Limits: limits, Follow: c.Follow, AcceptProblems: c.Accept, Progress: hooks.Progress,
	}
	if c.DryRun || c.Check {
		report, err := importe2a.Check(ctx, src, o)
		hooks.Passed(report)
		return err
	}
	if o.Envelope, err = c.envelope(ctx, src); err != nil {
		return err
	}
	if o.EnvelopeUntil, err = c.until(time.Now()); err != nil {
		return err
	}
	return c.passes(ctx, src, o, hooks)
}

// envelope is the envelope of new webhooks; "": Fanmail's own.
func (c *ImportE2A) envelope(ctx context.Context, src *importe2a.Source) (string, error) {
	switch c.Envelope {
	case "current":
		return "", nil
	case subscribers.EnvelopeV04:
		return c.Envelope, nil
	}
	return importe2a.DefaultEnvelope(ctx, src)
}

// passes makes one pass, or passes until ctx ends.
func (c *ImportE2A) passes(ctx context.Context, src *importe2a.Source, o importe2a.Options, hooks ImportHooks) error {
	for first := true; ; first = false {
		found := hooks.Found
		if !first {
			found = func(*importe2a.Report) {}
		}
		report, err := importe2a.Import(ctx, src, o, found)
		if err != nil {
			return err
		}
		hooks.Passed(report)
		if !c.Follow || c.Once {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Every):
		}
	}
}
