package pg

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// replanEvery is how old a connection's plans may become before it is taken
// from the pool again. Making all of the engine's plans takes some
// milliseconds.
const replanEvery = 2 * time.Second

// replan has each connection forget its plans now and then.
func replan(cfg *pgxpool.Config) {
	var mu sync.Mutex
	made := map[*pgx.Conn]time.Time{} // since when a connection's plans are kept
	prepare, closing := cfg.PrepareConn, cfg.BeforeClose
	cfg.PrepareConn = func(ctx context.Context, c *pgx.Conn) (bool, error) {
		now := time.Now()
		mu.Lock()
		since, known := made[c]
		old := known && now.Sub(since) > replanEvery
		if old || !known {
			made[c] = now
		}
		mu.Unlock()
		if old {
			if _, err := c.Exec(ctx, `DISCARD PLANS`); err != nil {
				return false, ctx.Err() // the pool throws it away and gives another
			}
		}
		if prepare != nil {
			return prepare(ctx, c)
		}
		return true, nil
	}
	cfg.BeforeClose = func(c *pgx.Conn) {
		mu.Lock()
		delete(made, c)
		mu.Unlock()
		if closing != nil {
			closing(c)
		}
	}
}
