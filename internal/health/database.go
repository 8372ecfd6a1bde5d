package health

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

// repeatAfter is how often the same fault of the database is logged.
const repeatAfter = time.Minute

// outOfConnections is the SQLSTATE of a server that accepts no further connection.
const outOfConnections = "53300"

// calm is how long a pool waits before it asks again for a connection that a limit
// has refused.
const calm = time.Second

// Watch notes the faults that the server answers on a pool's connections, and logs
// each with its remedy, at most once a minute. After a refusal for want of connections
// the pool opens none for a second, so that callers wait and those in use come back.
// Call it before the pool is made.
func Watch(cfg *pgxpool.Config, c *Component, log *zap.Logger) {
	w := &watch{component: c, log: log, said: map[string]time.Time{}}
	answered := cfg.ConnConfig.OnPgError
	cfg.ConnConfig.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		w.answer(err)
		return answered == nil || answered(conn, err)
	}
	before := cfg.BeforeConnect
	cfg.BeforeConnect = func(ctx context.Context, conn *pgx.ConnConfig) error {
		if err := w.wait(ctx); err != nil {
			return err
		}
		if before != nil {
			return before(ctx, conn)
		}
		return nil
	}
}

type watch struct {
	component *Component
	log       *zap.Logger

	mu      sync.Mutex
	said    map[string]time.Time // when a fault was logged last, by code
	refused time.Time            // when a connection was refused for want of one
}

func (w *watch) answer(err *pgconn.PgError) {
	f, known := Lookup(Database, err.Code)
	if !known {
		return
	}
	now := time.Now()
	w.component.Note(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.Code == outOfConnections {
		w.refused = now
	}
	if now.Sub(w.said[f.Code]) < repeatAfter {
		return
	}
	w.said[f.Code] = now
	w.log.Warn("the database answers with an error: "+f.Means,
		zap.String("error", strings.TrimSpace(err.Message)), zap.String("code", f.Code), zap.String("remedy", f.Remedy))
}

// wait waits until the pool may ask for a connection again.
func (w *watch) wait(ctx context.Context) error {
	w.mu.Lock()
	left := calm - time.Since(w.refused)
	w.mu.Unlock()
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
