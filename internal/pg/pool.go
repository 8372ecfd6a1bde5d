package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// cacheCapacity is how many statements a connection keeps: pgx's default.
const cacheCapacity = 512

// Configure applies the engine's settings to a pool. Settings in the connection string take
// precedence, except a query mode in which pgx guesses the types of parameters. Set the
// pool's own hooks, such as AfterConnect and the way to dial, before.
func Configure(cfg *pgxpool.Config) {
	// Postgres must be asked for the types of parameters, which arrays of our own types need. Such a mode may have been
	// chosen for a connection pooler, so no statement is prepared.
	if guesses(cfg.ConnConfig.DefaultQueryExecMode) {
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if cfg.ConnConfig.StatementCacheCapacity == 0 {
		cfg.ConnConfig.StatementCacheCapacity = cacheCapacity
	}
	if cfg.ConnConfig.DescriptionCacheCapacity == 0 {
		cfg.ConnConfig.DescriptionCacheCapacity = cacheCapacity
	}
	for k, v := range Engine {
		if _, set := cfg.ConnConfig.RuntimeParams[k]; !set {
			cfg.ConnConfig.RuntimeParams[k] = v
		}
	}
	replan(cfg)
	discardReadOnly(cfg)
	registerIDs(cfg)
	endSilence(cfg)
	cfg.MaxConnIdleTime = 5 * time.Minute
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 10 * time.Second
	}
}

// Open returns a pool of at most maxConns engine connections; zero: 8. It does
// not connect. Each new connection reads the files in the URL again. For its errors about
// the URL see [Parse].
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	cfg, err := Parse(secret.Text(url))
	if err != nil {
		return nil, fmt.Errorf("the database URL %w", err)
	}
	cfg.MaxConns = maxConns
	if maxConns <= 0 {
		cfg.MaxConns = 8
	}
	FollowFiles(cfg)
	Configure(cfg)
	return pgxpool.NewWithConfig(ctx, cfg)
}
