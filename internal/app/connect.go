package app

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/telemetry/export"
)

// connectDatabase waits until Postgres answers, checks its schema, and opens the
// process's pool. The pool is no larger than the role's, the database's and the
// server's limits on connections allow. It returns a [*migrations.SchemaError] for a
// schema that this release does not support.
func connectDatabase(ctx context.Context, c Database, state *condition, traces *export.Tracing) (*pgxpool.Pool, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = c.MaxConns
	if cfg.MaxConns == 0 {
		cfg.MaxConns = int32(max(16, 4*runtime.NumCPU())) //nolint:gosec // small
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "fanmail-" + state.process
	}
	limit, err := prepareDatabase(ctx, cfg.Copy(), c.Migrate, state)
	if err != nil {
		return nil, err
	}
	agents := state.process == "dispatcher" || state.process == "up"
	if share := limit.Share(cfg.MaxConns, agents); share < cfg.MaxConns {
		state.log.Warn("the pool of connections is smaller than set, because a limit allows for no more; with few connections everything is slower",
			zap.String("limit", limit.Of), zap.Int32("limit_conns", limit.Connections), zap.Int32("set_conns", cfg.MaxConns), zap.Int32("pool_conns", share),
			zap.String("remedy", "raise the limit, or lower --database-max-conns (FANMAIL_DATABASE_MAX_CONNS)"))
		cfg.MaxConns = share
	}
	cfg.MinConns = min(cfg.MinConns, cfg.MaxConns)
	pg.FollowFiles(cfg)
	health.Watch(cfg, state.database, state.log)
	pg.Configure(cfg)
	err = engine.Await(ctx, boundable(state.log), "the database", func(attempt context.Context) error {
		return engine.PermanentUnlessAway(pg.Adapt(attempt, cfg))
	})
	if err != nil {
		return nil, err
	}
	traces.Queries(cfg.ConnConfig)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}

// prepareDatabase waits until Postgres answers, then migrates or checks the
// schema, and returns the limit on connections. It uses connections of its own, because
// a migration needs other settings than the engine.
func prepareDatabase(ctx context.Context, cfg *pgxpool.Config, migrate bool, state *condition) (limit pg.Limit, err error) {
	cfg.MaxConns, cfg.MinConns = 2, 0
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // there may be a connection pooler
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return limit, fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	err = engine.Await(ctx, boundable(state.log), "the database", func(attempt context.Context) error {
		if err := pool.Ping(attempt); err != nil {
			state.database.Report(err)
			return fmt.Errorf("reach the database: %w", err)
		}
		if migrate {
			// A migration can take longer than an attempt to connect.
			if err := migrations.Up(ctx, pool); err != nil {
				state.database.Report(err)
				return engine.PermanentUnlessAway(err)
			}
		}
		schema, err := migrations.Read(attempt, pool)
		if err != nil {
			state.database.Report(err)
			return engine.PermanentUnlessAway(err)
		}
		if schema.Newer() && schema.Check() == nil {
			state.log.Warn("the database was migrated by a later release, whose schema allows for this one",
				zap.Int64("schema_version", schema.Have), zap.Int64("binary_version", schema.Want))
		}
		if limit, err = pg.ConnectionLimit(attempt, pool); err != nil {
			return engine.PermanentUnlessAway(err)
		}
		return engine.PermanentUnlessAway(schema.Check())
	})
	return limit, err
}

// boundable names the setting that bounds a wait in each line of it.
func boundable(log *zap.Logger) *zap.Logger {
	return log.With(zap.String("bounded_by", "--wait (FANMAIL_WAIT)"))
}

// dialBroker connects without waiting for a broker that is away: the connection is
// made later then, and deliveries go past the broker until it is.
func dialBroker(c NATS, name string, log *zap.Logger) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(c.URL.Reveal(), append(c.options(name, log), nats.RetryOnFailedConnect(true))...)
	if err != nil {
		return nil, nil, fmt.Errorf("reach %s: %w", hosts(c.URL), err)
	}
	if !nc.IsConnected() {
		log.Warn("starting without the broker: deliveries go past it until it is there", zap.String("broker", hosts(c.URL)), zap.Error(nc.LastError()))
	} else if err := takesEvents(nc); err != nil {
		nc.Close()
		return nil, nil, err
	}
	js, err := stream.Open(nc, c.apiPrefix())
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

// awaitBroker waits until NATS answers and do succeeds. An error of do that needs an
// operator ends the wait; see [stream.NeedsOperator].
func awaitBroker(ctx context.Context, c NATS, name string, do func(context.Context, jetstream.JetStream) error, log *zap.Logger) (*nats.Conn, jetstream.JetStream, error) {
	var nc *nats.Conn
	var js jetstream.JetStream
	err := engine.Await(ctx, boundable(log), "the broker", func(attempt context.Context) error {
		var err error
		if nc == nil {
			if nc, err = nats.Connect(c.URL.Reveal(), c.options(name, log)...); err != nil {
				nc = nil
				return fmt.Errorf("reach %s: %w", hosts(c.URL), err)
			}
		}
		if err := takesEvents(nc); err != nil {
			return backoff.Permanent(err)
		}
		if js, err = stream.Open(nc, c.apiPrefix()); err != nil {
			return err
		}
		// A stream without a leader does not answer; the next attempt asks again.
		ask, cancel := context.WithTimeoutCause(attempt, stream.AckTime, stream.ErrNoAck)
		defer cancel()
		err = do(ask, js)
		if stream.NeedsOperator(err) {
			return backoff.Permanent(err)
		}
		return err
	})
	if err != nil {
		if nc != nil {
			nc.Close()
		}
		return nil, nil, err
	}
	return nc, js, nil
}

// takesEvents returns an error if the largest events do not fit the broker's limit.
func takesEvents(nc *nats.Conn) error {
	if got := nc.MaxPayload(); got < stream.MinMessageBytes {
		return fmt.Errorf("the broker takes messages of at most %d bytes, Fanmail needs %d: raise max_payload in its configuration", got, stream.MinMessageBytes)
	}
	return nil
}

// inboxes is where replies to a process arrive.
func inboxes(process string) string { return "_INBOX_" + process }

// options returns the options of a process's connection.
func (c *NATS) options(name string, log *zap.Logger) []nats.Option {
	reached := func(nc *nats.Conn) {
		log.Info("reached the broker")
		if v := nc.ConnectedServerVersion(); stream.Older(v, stream.Oldest) {
			log.Warn("the broker is too old; it can stop at any time", zap.String("version", v), zap.String("needs", stream.Oldest))
		}
	}
	last := ""
	opts := []nats.Option{
		nats.Name("fanmail-" + name),
		// Replies arrive on a subject that only this process's user may subscribe to.
		nats.CustomInboxPrefix(inboxes(name)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// Otherwise a user that is refused twice is never tried again.
		nats.IgnoreAuthErrorAbort(),
		nats.Timeout(engine.AwaitTimeout),
		// A broker that no longer answers is noticed, and delays no caller for long.
		nats.PingInterval(10 * time.Second), nats.FlusherTimeout(5 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("lost the broker; reconnecting", zap.Error(err))
			}
		}),
		nats.ConnectHandler(reached),
		nats.ReconnectHandler(reached),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil && err.Error() != last { // one call at a time
				last = err.Error()
				log.Warn("the broker can't be reached; trying again", zap.Error(err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("error from the broker", zap.String("subject", subject), zap.Error(err))
		}),
	}
	return append(opts, c.credentials()...)
}

// apiPrefix returns the prefix of JetStream's API; "" for the account's own.
func (c *NATS) apiPrefix() string {
	if c.Prefix != "" {
		return c.Prefix
	}
	return stream.DomainPrefix(c.Domain)
}

// credentials returns the connection's options for its credentials.
func (c *NATS) credentials() []nats.Option {
	var opts []nats.Option
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.CA != "" {
		opts = append(opts, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		opts = append(opts, nats.ClientCert(c.Cert, c.Key))
	}
	return opts
}

// hosts returns the servers of a list of URLs, without credentials.
func hosts(urls secret.Text) string {
	var out []string
	for raw := range strings.SplitSeq(urls.Reveal(), ",") {
		if u, err := url.Parse(strings.TrimSpace(raw)); err == nil {
			out = append(out, u.Host)
		}
	}
	return strings.Join(out, ",")
}
