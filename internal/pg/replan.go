package pg

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// replanEvery is how long a connection keeps its plans. Making all plans of the engine
// again takes some milliseconds.
const replanEvery = 2 * time.Second

// replan makes each connection discard its plans when it is acquired, if they are older
// than replanEvery.
func replan(cfg *pgxpool.Config) {
	var mu sync.Mutex
	made := map[*pgx.Conn]time.Time{} // when a connection last discarded its plans
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
				return false, ctx.Err() // the pool closes the connection and tries another
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
