package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/deploy/postgres"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// Migrate waits for the database, migrates its schema and returns the schema's
// version. With grants it also grants the rights of the processes' roles; see
// [postgres.Grant]. It changes nothing in the schema of a later release, whose
// rights include the rights of this release.
func Migrate(ctx context.Context, c Database, wait Waiting, grants bool, log *zap.Logger) (int64, error) {
	c.Migrate = true
	if err := firstError(c.validate, wait.validate); err != nil {
		return 0, err
	}
	starting, started := wait.bound(ctx)
	defer started()
	pool, err := connectDatabase(starting, c, newCondition("migrate", log), nil)
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

// Maintain runs one round of the dispatchers' maintenance with the rights of the
// tables' owner. It does nothing while another process does. With every it runs
// rounds until ctx ends and serves its state at life.HTTPAddr, so that its failure
// is noticed where it replaces the dispatchers' maintenance.
func Maintain(ctx context.Context, c Database, every time.Duration, keep Retention, life Lifecycle, log *zap.Logger) error {
	if err := firstError(c.validate, keep.validate, life.validate); err != nil {
		return err
	}
	p := newProcess("maintain", life, log)
	starting, started := life.bound(ctx)
	defer started()
	if every <= 0 {
		pool, err := connectDatabase(starting, c, p.state, nil)
		if err != nil {
			return err
		}
		defer pool.Close()
		return errors.Join(p.maintenance(pool, every, keep).Round(ctx), p.erasure(pool).Round(ctx))
	}
	stopStatus, err := p.serveStatus(ctx, life)
	if err != nil {
		return err
	}
	defer stopStatus()
	p.status.set("waiting for the database")
	if p.pool, err = connectDatabase(starting, c, p.state, nil); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	p.add("maintenance", p.maintenance(p.pool, every, keep).Run)
	p.add("erasure", p.erasure(p.pool).Run)
	return p.work(ctx)
}

func (p *process) maintenance(pool *pgxpool.Pool, every time.Duration, keep Retention) *dispatch.Maintenance {
	return engine.Maintenance(pool, every, engine.Options{Keep: keep.policy(), Retention: keep.rules(), Log: p.log, Registerer: p.registry})
}

func (p *process) erasure(pool *pgxpool.Pool) *erasure.Worker {
	return engine.Erasure(pool, engine.Options{TenantRows: tenantRows(), Log: p.log, Registerer: p.registry})
}

// MakeStreams waits for the broker and creates or updates the streams and
// consumers of all processes, for processes that run with --streams=external, and those of
// the tenants whose producers have an account of their own. With
// every it repeats that until ctx ends, so that what the broker loses comes back.
func MakeStreams(ctx context.Context, c NATS, intakeTenants []string, every time.Duration, wait Waiting, log *zap.Logger) error {
	if err := firstError(c.validate, wait.validate); err != nil {
		return err
	}
	o := c.streams(stream.Everything)
	o.Log = log
	for _, text := range intakeTenants {
		tenant, err := events.Parse[events.TenantKind](text)
		if err != nil {
			return wrong("--intake-tenants", "FANMAIL_INTAKE_TENANTS", fmt.Sprintf("has %q, which is not a tenant's id, such as ten_ and 32 hexadecimal digits", text))
		}
		o.IntakeTenants = append(o.IntakeTenants, tenant)
	}
	ensure := func(ctx context.Context, js jetstream.JetStream) error { return stream.EnsureAll(ctx, js, o) }
	starting, started := wait.bound(ctx)
	defer started()
	nc, js, err := awaitBroker(starting, c, "streams", ensure, log)
	if err != nil {
		return err
	}
	defer nc.Close()
	if every > 0 {
		log.Info("the streams are up to date", zap.Duration("every", every))
		engine.KeepStreams(ctx, every, func(ctx context.Context) error { return ensure(ctx, js) }, log)
	}
	return nil
}

// NewOperatorKey creates an operator's key in the database and returns its
// secret, which is not stored.
func NewOperatorKey(ctx context.Context, c Database, wait Waiting, log *zap.Logger) (string, error) {
	if err := firstError(c.validate, wait.validate); err != nil {
		return "", err
	}
	ctx, stop := wait.bound(ctx)
	defer stop()
	pool, err := connectDatabase(ctx, c, newCondition("keys", log), nil)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	return tenancy.BootstrapOperatorKey(ctx, pool)
}
