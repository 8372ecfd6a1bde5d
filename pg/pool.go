package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Engine are the settings of the engine's connections.
var Engine = map[string]string{
	"enable_hashjoin":     "off",
	"enable_mergejoin":    "off",
	"enable_seqscan":      "off",
	"enable_bitmapscan":   "off",
	"plan_cache_mode":     "force_generic_plan",
	"jit":                 "off",
	"statement_timeout":   "60s",
	"lock_timeout":        "20s",
	"application_name":    "fanmail",
	"client_min_messages": "error",
}

// Open makes a pool of at most maxConns engine connections (zero: 8). It does
// not connect. The error names what is wrong with the URL and never holds its
// password.
func Open(ctx context.Context, url string, maxConns int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err) // pgx redacts it
	}
	if maxConns <= 0 {
		maxConns = 8
	}
	cfg.MaxConns = int32(maxConns)
	cfg.MaxConnIdleTime = 5 * time.Minute
	for k, v := range Engine {
		cfg.ConnConfig.RuntimeParams[k] = v
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// Away says whether an error means that the database could not be reached or
// ended the connection, so that the same call may succeed later, rather than
// that it refused the statement.
func Away(err error) bool {
	if err == nil {
		return false
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch pe.Code[:min(2, len(pe.Code))] {
		case "08", "53", "57", "58", "40", "25", "55":
			// connection, resources, operator intervention (shutdown, start-up,
			// time-out), system, rollback, read-only standby, lock not available
			return true
		}
		return false
	}
	var ne net.Error
	return pgconn.SafeToRetry(err) || pgconn.Timeout(err) || errors.As(err, &ne) || !errors.Is(err, context.Canceled)
}
