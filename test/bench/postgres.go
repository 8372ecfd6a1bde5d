package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/devserver"
)

// postgres is a system's durable Postgres, with the same settings for every system, and the producers'
// connection pool.
type postgres struct {
	server *devserver.Postgres
	pid    string
	pool   *pgxpool.Pool
}

func startPostgres(ctx context.Context, dir string) (*postgres, error) {
	server, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
	if err != nil {
		return nil, err
	}
	p := &postgres{server: server}
	b, err := os.ReadFile(filepath.Join(server.DataDir, "postmaster.pid"))
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("find Postgres's process: %w", err)
	}
	p.pid, _, _ = strings.Cut(string(b), "\n")
	conf, err := pgxpool.ParseConfig(p.url())
	if err == nil {
		conf.MaxConns = producers
		p.pool, err = pgxpool.NewWithConfig(ctx, conf)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("connect to Postgres: %w", err)
	}
	return p, nil
}

func (p *postgres) url() string { return p.server.URL("postgres") }

// usage adds what Postgres has used to u.
func (p *postgres) usage(ctx context.Context, u *Usage) error {
	cpu, err := cpuOfFamily(p.pid)
	if err != nil {
		return err
	}
	u.CPU["postgres"] = cpu
	var log float64
	if err := p.pool.QueryRow(ctx, `SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8`).Scan(&log); err != nil {
		return fmt.Errorf("read the bytes of Postgres's WAL: %w", err)
	}
	u.Written["postgres"] = log
	return nil
}

var errPending = errors.New("outcomes are still to be written")

// settle waits until the query returns false.
func (p *postgres) settle(ctx context.Context, query string, args ...any) error {
	ask := func() error {
		var pending bool
		err := p.pool.QueryRow(ctx, query, args...).Scan(&pending)
		if err == nil && pending {
			err = errPending
		}
		return err
	}
	return backoff.Retry(ask, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
}

func (p *postgres) stop() {
	if p == nil {
		return
	}
	if p.pool != nil {
		p.pool.Close()
	}
	p.server.Stop()
}
