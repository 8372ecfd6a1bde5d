package pg

import (
	"context"
	"fmt"
	"time"

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

// Configure gives a pool's connections the engine's settings; what the
// connection string sets itself stays. Files that the string names are read
// anew for each connection.
func Configure(cfg *pgxpool.Config) {
	followFiles(cfg)
	for k, v := range Engine {
		if _, set := cfg.ConnConfig.RuntimeParams[k]; !set {
			cfg.ConnConfig.RuntimeParams[k] = v
		}
	}
	replan(cfg)
	registerIDs(cfg)
	cfg.MaxConnIdleTime = 5 * time.Minute
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 10 * time.Second
	}
}

// Open makes a pool of at most maxConns engine connections (zero: 8). It does
// not connect. The error names what is wrong with the URL and never holds its
// password.
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err) // pgx redacts it
	}
	cfg.MaxConns = maxConns
	if maxConns <= 0 {
		cfg.MaxConns = 8
	}
	Configure(cfg)
	return pgxpool.NewWithConfig(ctx, cfg)
}
