package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/health"
)

// Standing returns how each process that works on the database stood at its last beat.
// The error of a database that can't be asked names the remedy, if there is a known one.
// The list may come with an error: that the database takes no writes, so that it is old.
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
	if err != nil {
		return nil, remedied(err)
	}
	fresh := slices.ContainsFunc(list, func(p health.Process) bool { return p.Age <= 2*health.BeatEvery })
	if fresh { // a standby, or a session that only reads, shows what the processes write elsewhere
		return list, nil
	}
	var readOnly bool
	if err := conn.QueryRow(ctx, `SELECT current_setting('transaction_read_only')::boolean`).Scan(&readOnly); err != nil {
		return nil, remedied(fmt.Errorf("ask whether the database takes writes: %w", err))
	}
	if f, _ := health.Lookup(health.Database, "25006"); readOnly {
		return list, errors.New("the database takes no writes, so what the processes wrote about themselves is old: read /readyz of each; to do: " + f.Remedy)
	}
	return list, nil
}

// remedied adds what to do about a known error.
func remedied(err error) error {
	if f, known := health.Explain(err); known {
		return errors.New(oneLine(err) + "; to do: " + f.Remedy)
	}
	return err
}
