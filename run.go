package fanmail

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// runConns is the most connections that Run and Tick open for their work, besides
// those of the agents' own webhooks (3). They are opened as they are needed.
const runConns = 12

// Run relays, fans out, delivers and maintains until ctx ends; then it fetches
// nothing new, finishes the attempts on the wire for at most 20 seconds, records
// their outcomes, and returns nil. It returns an error where waiting is in vain: the
// schema or a stream does not fit, the role does not own Fanmail's tables, or the
// broker connection is nil or closed for good. It waits for a database that is away.
// While the broker is away or takes nothing, deliveries go on more slowly. A
// *nats.Conn gives up after two minutes unless it was made with
// nats.MaxReconnects(-1).
//
// Any number of processes may call Run on one database: they share the work, and
// one that dies is replaced by the others. Run opens at most 16 connections of its
// own to the database; the pool given to [New] keeps its settings.
func (c *Client) Run(ctx context.Context) error {
	if err := c.ready(); err != nil {
		return err
	}
	if c.nc == nil {
		return errors.New("fanmail: Run needs a broker connection: give New a *nats.Conn, or call Tick")
	}
	pool, err := c.runPool(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer pool.Close()
	if c.nc.IsClosed() {
		return fmt.Errorf("fanmail: %w", errBrokerClosed)
	}
	streams, err := engine.Streams(ctx, c.js, stream.Options{Log: c.config.Logger}, c.config.Logger)
	if err != nil || ctx.Err() != nil {
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
	all := append(d.Parts(), streams, engine.Publisher(conn, c.options()), engine.Part{Name: "broker", Run: c.watchBroker})
	for _, p := range all {
		group.Go(func() error {
			if err := p.Run(parts); err != nil {
				return fmt.Errorf("fanmail: %s: %w", p.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// prepareDatabase checks the schema and the role's rights.
func prepareDatabase(ctx context.Context, pool *pgxpool.Pool) error {
	schema, err := migrations.Read(ctx, pool)
	if err == nil {
		err = schema.Check()
	}
	var unfit *migrations.SchemaError
	if errors.As(err, &unfit) {
		return engine.Permanent(fmt.Errorf("fanmail: %w", err))
	}
	if err != nil {
		return engine.PermanentUnlessAway(fmt.Errorf("fanmail: %w", err))
	}
	err = migrations.CheckRights(ctx, pool)
	var rights *migrations.RightsError
	if errors.As(err, &rights) {
		return engine.Permanent(fmt.Errorf("fanmail: %w", err))
	}
	return err
}

var errBrokerClosed = errors.New("the broker connection is closed for good: the program closed it, or its attempts to reconnect " +
	"are used up; connect with nats.MaxReconnects(-1) to reconnect without end")

// runPool waits for the database and returns the pool of a run.
func (c *Client) runPool(ctx context.Context) (pool *pgxpool.Pool, err error) {
	err = engine.Await(ctx, c.config.Logger, "the database", func(ctx context.Context) error {
		if pool == nil {
			if pool, err = engine.Pool(ctx, c.pool, runConns); err != nil {
				return fmt.Errorf("fanmail: %w", err)
			}
		}
		return prepareDatabase(ctx, pool)
	})
	if err != nil && pool != nil {
		pool.Close()
	}
	return pool, err
}

// watchBroker returns an error when the connection is closed: such a connection never
// comes back, so that waiting would be in vain.
func (c *Client) watchBroker(ctx context.Context) error {
	closed := c.nc.StatusChanged(nats.CLOSED)
	defer c.nc.RemoveStatusListener(closed)
	if c.nc.IsClosed() {
		return errBrokerClosed
	}
	select {
	case <-ctx.Done():
		return nil
	case <-closed:
		return unlessEnded(ctx, errBrokerClosed)
	}
}

// unlessEnded drops an error that comes from ctx having ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
