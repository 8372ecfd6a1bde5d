package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// AwaitTimeout bounds one try of [Await].
const AwaitTimeout = 10 * time.Second

// Await tries until it succeeds, ctx ends, or the error is permanent. It logs what
// it waits for, since when and until when: at once, and then at least every six
// seconds. If ctx ends first, the error says what it waited for, and contains the
// last try's error and the cause of the end.
func Await(ctx context.Context, log *zap.Logger, what string, try func(context.Context) error) error {
	began := time.Now()
	until := "it is reached"
	if deadline, bounded := ctx.Deadline(); bounded {
		until = deadline.Format(time.RFC3339)
	}
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(4*time.Second), backoff.WithMaxElapsedTime(0))
	var last error
	err := backoff.RetryNotify(func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, AwaitTimeout, fmt.Errorf("no answer within %s", AwaitTimeout))
		defer cancel()
		return try(ctx)
	}, backoff.WithContext(b, ctx), func(err error, next time.Duration) {
		last = err
		log := log
		if f, known := health.Explain(err); known {
			log = log.With(zap.String("code", f.Code), zap.String("remedy", f.Remedy))
		}
		log.Warn("waiting for "+what, zap.String("error", distinct(err)), zap.Duration("waited", time.Since(began).Round(time.Millisecond)),
			zap.String("until", until), zap.Duration("next_try", next.Round(time.Millisecond)))
	})
	waited := time.Since(began).Round(time.Millisecond)
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("waited %s for %s: %w; the last error: %s", waited, what, context.Cause(ctx), distinct(last))
	}
	if err == nil && last != nil {
		log.Info("reached "+what, zap.Duration("waited", waited))
	}
	return err
}

// PermanentUnlessAway makes an error of the database permanent unless waiting can end
// it: the server is away, busy, or out of connections.
func PermanentUnlessAway(err error) error {
	var schema *migrations.SchemaError
	if errors.As(err, &schema) {
		return Permanent(schema)
	}
	var pooler *pg.PoolerError
	if errors.As(err, &pooler) {
		return Permanent(pooler)
	}
	var connect *pgconn.ConnectError
	var answer *pgconn.PgError
	if errors.As(err, &connect) || !errors.As(err, &answer) {
		return err
	}
	switch answer.Code[:2] {
	case "08", "40", "53", "55", "57": // connection, rollback, resources, locks, operator or timeout
		return err
	}
	return Permanent(err)
}

// Permanent marks an error that [Await] returns at once.
func Permanent(err error) error { return backoff.Permanent(err) }

// distinct returns an error's text on one line, without lines that repeat: a driver lists each try of the same address.
func distinct(err error) string {
	var lines []string
	seen := map[string]bool{}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !seen[line] {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
