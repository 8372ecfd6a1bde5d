package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/deploy/postgres"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// Migrate waits for the database, brings its schema up to date and gives the
// version that it then has. With grants it also gives the roles of the
// processes their rights; see [postgres.Grant]. On the schema of a later release
// it leaves both as they are: that release's rights cover this one's.
func Migrate(ctx context.Context, c Database, grants bool, log *zap.Logger) (int64, error) {
	c.Migrate = true
	if err := c.validate(); err != nil {
		return 0, err
	}
	pool, err := connectDatabase(ctx, c, "migrate", nil, log)
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	schema, err := migrations.Read(ctx, pool)
	if err != nil {
		return 0, err
	}
	if grants && !schema.Newer() {
		if err := postgres.Grant(ctx, pool); err != nil {
			return 0, err
		}
	}
	return schema.Have, nil
}

// Maintain does one round of what a dispatcher's maintenance does, with the
// rights of the tables' owner; nothing where another is at it. With every it
// goes on until ctx ends, and serves its state at life.HTTPAddr: where it runs
// in the dispatchers' stead, it must be seen to work in theirs.
func Maintain(ctx context.Context, c Database, every time.Duration, life Lifecycle, log *zap.Logger) error {
	if err := firstError(c.validate, life.validate); err != nil {
		return err
	}
	p := newProcess("maintain", life, log)
	if every <= 0 {
		pool, err := connectDatabase(ctx, c, p.name, nil, log)
		if err != nil {
			return err
		}
		defer pool.Close()
		return p.maintenance(pool, every).Round(ctx)
	}
	stopStatus, err := p.serveStatus(ctx, life)
	if err != nil {
		return err
	}
	defer stopStatus()
	p.status.set("waiting for the database")
	if p.pool, err = connectDatabase(ctx, c, p.name, nil, log); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	p.add("maintenance", p.maintenance(p.pool, every).Run)
	return p.work(ctx)
}

func (p *process) maintenance(pool *pgxpool.Pool, every time.Duration) *dispatch.Maintenance {
	return engine.Maintenance(pool, every, engine.Options{Retention: retentionRules(), Log: p.log, Registerer: p.registry})
}

// MakeStreams waits for the broker and makes every stream and consumer that any
// process works with, for processes that run with --streams=given.
func MakeStreams(ctx context.Context, c NATS, log *zap.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	nc, _, err := connectBroker(ctx, c, "streams", func(ctx context.Context, js jetstream.JetStream) error {
		return stream.EnsureAll(ctx, js, c.streams(stream.Everything))
	}, log)
	if err != nil {
		return err
	}
	nc.Close()
	return nil
}

// NewOperatorKey makes an operator's key in the database and gives its secret,
// which is stored nowhere else.
func NewOperatorKey(ctx context.Context, c Database, log *zap.Logger) (string, error) {
	if err := c.validate(); err != nil {
		return "", err
	}
	pool, err := connectDatabase(ctx, c, "keys", nil, log)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	return tenancy.BootstrapOperatorKey(ctx, pool)
}
