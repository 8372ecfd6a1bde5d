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
	"github.com/fanmail-dev/fanmail/test/chaos/promise"
)

// Faults that not every machine can inject.
const (
	postgresFullName  = "postgres.full"
	postgresClockName = "postgres.clock"
)

// postgresImmediate stops the server without a checkpoint, and starts it again.
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

// postgresFailover starts a standby, makes commits wait for it, crashes the primary and promotes the
// standby. Commits that were acknowledged survive; commits with synchronous_commit off may not.
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

// lead points all proxies of the database at the server in use.
func (r *rig) lead() error {
	var errs []error
	for _, l := range append(r.links.of("postgres"), r.way) {
		errs = append(errs, l.lead(r.databaseAddr()))
	}
	return errors.Join(errs...)
}

// replicate makes commits wait for the standby for a while. Then it closes the proxies and waits until
// the standby has all that the primary has.
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
	// A backend applies the setting only after the checkpointer has read it, and nothing shows when.
	// So no client may commit while the standby is compared.
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

// forget lets the primary commit without the standby.
func (r *rig) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(execute(ctx, r.postgres, `ALTER SYSTEM RESET synchronous_standby_names`, `SELECT pg_reload_conf()`), r.lead())
}

// promote crashes the primary and promotes the standby.
func (r *rig) promote(ctx context.Context, standby *devserver.Postgres) error {
	if err := r.crashDatabase(); err != nil {
		return err
	}
	// Do not wait inside a statement: recovery may cancel a query on a standby.
	if err := backoff.Retry(func() error {
		return errors.Join(execute(ctx, standby, `SELECT pg_promote(false) WHERE pg_is_in_recovery()`),
			execute(ctx, standby, `SELECT 1 / (CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END)`))
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx)); err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	// The copy has the primary's synchronous_standby_names.
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

// postgresFull fills the database's disk and frees it again. A server that could not write its WAL has
// exited by then.
func postgresFull(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	d := r.disks[filepath.Join(r.dir, databaseDir)]
	d.full.Store(true)
	defer d.full.Store(false)
	// The current WAL segment has room; this switches to the next one.
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

// postgresClock steps the database's clock ahead, past leases and retry times, and back.
func postgresClock(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	ahead := between(rnd, 10*time.Second, 40*time.Second).Truncate(time.Second)
	if err := r.clock.step(ahead); err != nil {
		return "", err
	}
	last(ctx, between(rnd, 4*time.Second, 8*time.Second))
	err := r.clock.step(0)
	last(ctx, 1500*time.Millisecond) // until every backend has read the offset
	return ahead.String() + " ahead and back", err
}

// able returns the faults that this machine can inject.
func (r *rig) able(all []fault) []fault {
	var out []fault
	for _, f := range all {
		switch {
		case r.clock == nil && f.name == postgresClockName:
		case len(r.disks) <= len(nodes) && (f.name == postgresFullName || f.name == natsDiskName || f.name == promise.ReadOnlyStore):
		default:
			out = append(out, f)
			continue
		}
		r.say("left out: %s", f.name)
	}
	return out
}
