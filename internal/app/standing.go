package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/health"
)

// Standing returns how each process that works on the database stood at its last beat.
// The error of a database that can't be asked names the remedy, if there is a known one.
func Standing(ctx context.Context, c Database) ([]health.Process, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %s", checkTimeout))
	defer cancel()
	if err := c.validate(); err != nil {
		return nil, err
	}
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return nil, remedied(fmt.Errorf("reach the database: %w", err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	list, err := health.Processes(ctx, conn)
	return list, remedied(err)
}

// remedied adds what to do about a known error.
func remedied(err error) error {
	if f, known := health.Explain(err); known {
		return errors.New(oneLine(err) + "; to do: " + f.Remedy)
	}
	return err
}
