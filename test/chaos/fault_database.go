package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/devserver"
)

// Faults that a machine may not be able to make.
const (
	postgresFullName  = "postgres.full"
	postgresClockName = "postgres.clock"
)

// postgresImmediate stops the server without a checkpoint or a goodbye, and
// starts it again.
func postgresImmediate(least, most time.Duration) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		if err := r.crashDatabase(); err != nil {
			return "", err
		}
		last(ctx, between(rnd, least, most))
		var err error
		r.postgres, err = devserver.StartPostgres(ctx, r.database)
		return "", err
	}
}

func (r *rig) crashDatabase() error {
	b, err := os.ReadFile(filepath.Join(r.postgres.DataDir, "postmaster.pid"))
	if err != nil {
		return fmt.Errorf("find the server: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		return fmt.Errorf("find the server: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	r.postgres.Stop()
	return nil
}

// postgresFailover makes a standby, has commits wait for it, loses the primary
// and goes on with the standby: what was acknowledged is there, what did not
// wait for the disk may not be.
func postgresFailover(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	next := r.database
	generation, err := strconv.Atoi(filepath.Base(next.Dir))
	if err != nil {
		return "", err
	}
	next.Dir, next.Port = filepath.Join(filepath.Dir(next.Dir), strconv.Itoa(generation+1)), 0
	standby, err := r.postgres.Follow(ctx, next, "standby")
	if err != nil {
		return "", err
	}
	if err := r.replicate(ctx, between(rnd, 500*time.Millisecond, 2*time.Second)); err != nil {
		standby.Stop()
		return "", errors.Join(err, r.forget(ctx))
	}
	if err := r.promote(ctx, standby); err != nil {
		standby.Stop()
		return "", err
	}
	old := r.database.Dir
	next.Port = standby.Port
	r.postgres, r.database = standby, next
	return "to server " + strconv.Itoa(generation+1), errors.Join(r.lead(), os.RemoveAll(old))
}

// lead has all ways to the database lead to the one in use.
func (r *rig) lead() error {
	var errs []error
	for _, l := range append(r.links.of("postgres"), r.way) {
		errs = append(errs, l.lead(r.databaseAddr()))
	}
	return errors.Join(errs...)
}

// replicate has commits wait for the standby for so long, and then leaves nothing on
// the primary that the standby lacks: nobody reaches the primary any more.
func (r *rig) replicate(ctx context.Context, in time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the standby did not follow within a minute"))
	defer cancel()
	if err := execute(ctx, r.postgres, `ALTER SYSTEM SET synchronous_standby_names = 'standby'`, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	if err := backoff.Retry(func() error {
		return execute(ctx, r.postgres, `SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`)
	}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx)); err != nil {
		return fmt.Errorf("wait for the standby: %w", err)
	}
	last(ctx, in)
	// Backends heed the setting only once the checkpointer has read it, which
	// nothing shows. So nobody commits any more when the standby is compared.
	for _, l := range append(r.links.of("postgres"), r.way) {
		l.cut()
	}
	if err := backoff.Retry(func() error {
		return execute(ctx, r.postgres, `SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= pg_current_wal_flush_lsn()`)
	}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx)); err != nil {
		return fmt.Errorf("wait for the standby to have all: %w", err)
	}
	return nil
}

// forget has the primary go on without the standby.
func (r *rig) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(execute(ctx, r.postgres, `ALTER SYSTEM RESET synchronous_standby_names`, `SELECT pg_reload_conf()`), r.lead())
}

// promote crashes the primary, and makes a primary of the standby.
func (r *rig) promote(ctx context.Context, standby *devserver.Postgres) error {
	if err := r.crashDatabase(); err != nil {
		return err
	}
	// Waiting for it in a statement would be a query on a standby, which
	// recovery may cancel.
	if err := backoff.Retry(func() error {
		return errors.Join(execute(ctx, standby, `SELECT pg_promote(false) WHERE pg_is_in_recovery()`),
			execute(ctx, standby, `SELECT 1 / (CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END)`))
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx)); err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	// It has copied the primary's wish for a standby.
	return execute(ctx, standby, `ALTER SYSTEM RESET synchronous_standby_names`, `SELECT pg_reload_conf()`)
}

func execute(ctx context.Context, p *devserver.Postgres, statements ...string) error {
	c, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	for _, s := range statements {
		if _, err := c.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// postgresFull fills the database's disk, and makes room again. A server that
// could not even write its log of changes has ended by then.
func postgresFull(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	d := r.disks[filepath.Join(r.dir, databaseDir)]
	d.full.Store(true)
	defer d.full.Store(false)
	// It has room in the segments that it has; this takes it on to the next.
	wal, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = r.pool.Exec(wal, `SELECT pg_switch_wal()`)
	last(ctx, between(rnd, 3*time.Second, 6*time.Second))
	d.full.Store(false)
	note := "it went on"
	err := backoff.Retry(func() error {
		select {
		case <-r.postgres.Exited():
			note = "it had ended"
			var err error
			r.postgres, err = devserver.StartPostgres(ctx, r.database)
			if err != nil {
				return backoff.Permanent(err)
			}
			return nil
		default:
			return execute(ctx, r.postgres, `SELECT 1`)
		}
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx))
	return note, err
}

// postgresClock steps the database's clock ahead, past leases and retries, and
// back again.
func postgresClock(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	ahead := between(rnd, 10*time.Second, 40*time.Second).Truncate(time.Second)
	if err := r.clock.step(ahead); err != nil {
		return "", err
	}
	last(ctx, between(rnd, 4*time.Second, 8*time.Second))
	err := r.clock.step(0)
	last(ctx, 1500*time.Millisecond) // until every backend has seen it
	return ahead.String() + " ahead and back", err
}

// able leaves the faults that this machine can make.
func (r *rig) able(all []fault) []fault {
	var out []fault
	for _, f := range all {
		switch {
		case r.clock == nil && f.name == postgresClockName:
		case len(r.disks) <= len(nodes) && (f.name == postgresFullName || f.name == natsDiskName):
		default:
			out = append(out, f)
			continue
		}
		r.say("left out: %s", f.name)
	}
	return out
}
