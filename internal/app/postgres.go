package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/devserver"
)

// startPostgres starts the private Postgres and creates its database.
func startPostgres(ctx context.Context, dir string, log *zap.Logger) (*devserver.Postgres, error) {
	if err := awaitPredecessor(ctx, dir, log); err != nil {
		return nil, err
	}
	pg, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir, Log: log})
	if err != nil {
		return nil, err
	}
	if err := createDatabase(ctx, pg); err != nil {
		pg.Stop()
		return nil, err
	}
	return pg, nil
}

func createDatabase(ctx context.Context, pg *devserver.Postgres) error {
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the private Postgres: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var there bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = 'fanmail')`).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, `CREATE DATABASE fanmail`)
	}
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	return nil
}

// awaitPredecessor waits until the Postgres of a killed run has shut down. The
// caller holds the directory's lock, so that Postgres has no users. It stops
// waiting after 20 s: the process id can belong to another program by now, and
// Postgres itself checks its data directory.
func awaitPredecessor(ctx context.Context, dir string, log *zap.Logger) error {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(20*time.Millisecond),
		backoff.WithMaxElapsedTime(20*time.Second))
	said := false
	_ = backoff.Retry(func() error {
		pid, running := postmaster(dir)
		if !running {
			return nil
		}
		if !said {
			log.Info("waiting for the Postgres of the last run to end", zap.Int("pid", pid))
			said = true
		}
		return errors.New("it runs")
	}, backoff.WithContext(b, ctx))
	return ctx.Err()
}

// postmaster returns the process that has the data in dir open, or nil.
func postmaster(dir string) (pid int, running bool) {
	b, err := os.ReadFile(filepath.Join(dir, "postgres", "postmaster.pid")) //nolint:gosec // the user's own directory
	if err != nil {
		return 0, false
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 {
		return 0, false
	}
	err = syscall.Kill(pid, 0)
	return pid, err == nil || errors.Is(err, syscall.EPERM)
}
