package fanmail

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// runConns is the most connections that Run and Tick open for their work, besides
// those of the agents' own webhooks (4). They are opened as they are needed.
const runConns = 12

// Run relays, fans out, delivers and maintains until ctx ends; then it fetches
// nothing new, finishes the attempts on the wire for at most 20 seconds, records
// their outcomes, and returns nil. It returns an error where it cannot start: there
// is no broker connection, or the schema or a stream does not fit. A database or
// broker that is away is waited for.
//
// Any number of processes may call Run on one database: they share the work, and
// one that dies is replaced by the others. Run opens at most 16 connections of its
// own to the database; the pool given to [New] keeps its settings.
func (c *Client) Run(ctx context.Context) error {
	if c.nc == nil {
		return errors.New("fanmail: Run needs a broker connection: give New a *nats.Conn, or call Tick")
	}
	pool, err := engine.Pool(ctx, c.pool, runConns)
	if err != nil {
		return fmt.Errorf("fanmail: %w", err)
	}
	defer pool.Close()
	if err := c.prepare(ctx); err != nil || ctx.Err() != nil {
		return unlessEnded(ctx, err)
	}
	conn := engine.Conn{Pool: pool, NC: c.nc, JS: c.js}
	d, err := engine.NewDispatcher(ctx, conn, c.options())
	if err != nil {
		return fmt.Errorf("fanmail: %w", err)
	}
	defer d.Close()
	if err := engine.Await(ctx, c.config.Logger, "the webhooks", d.Load); err != nil {
		return unlessEnded(ctx, err)
	}
	group, parts := errgroup.WithContext(ctx)
	for _, p := range append(d.Parts(), engine.Publisher(conn, c.options())) {
		group.Go(func() error {
			if err := p.Run(parts); err != nil {
				return fmt.Errorf("fanmail: %s: %w", p.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// prepare waits until the database has the schema and the broker the streams.
func (c *Client) prepare(ctx context.Context) error {
	return engine.Await(ctx, c.config.Logger, "the database and the broker", func(ctx context.Context) error {
		schema, err := migrations.Read(ctx, c.pool)
		if err != nil {
			return err
		}
		if err := schema.Check(); err != nil {
			return engine.Permanent(fmt.Errorf("%w (in a program: call fanmail.Migrate)", err))
		}
		err = stream.Ensure(ctx, c.js, stream.Options{})
		var mismatch *stream.MismatchError
		if errors.As(err, &mismatch) {
			return engine.Permanent(err)
		}
		return err
	})
}

// unlessEnded drops an error that comes from ctx having ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
