package pg

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// readOnlyCode is the SQLSTATE of a write on a server, or in a session, that is read-only.
const readOnlyCode = "25006"

// refusalsSeen is the key of a connection's custom data that says how many refusals the
// pool had met when the connection was opened or last checked.
const refusalsSeen = "fanmail.read_only_refusals"

// discardReadOnly closes a connection whose server refuses a write because it is
// read-only. Every other connection that was opened before the refusal is asked once,
// when it is next acquired, and closed if it is read-only too. So after a failover at most
// the statements in flight fail. A connection that is opened afterwards is kept: a
// database that is read-only as a whole still serves reads.
func discardReadOnly(cfg *pgxpool.Config) {
	var refusals atomic.Int64
	answered := cfg.ConnConfig.OnPgError
	cfg.ConnConfig.OnPgError = func(c *pgconn.PgConn, err *pgconn.PgError) bool {
		keep := answered == nil || answered(c, err)
		if err.Code != readOnlyCode {
			return keep
		}
		refusals.Add(1)
		return false
	}
	connected, prepare := cfg.AfterConnect, cfg.PrepareConn
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		c.PgConn().CustomData()[refusalsSeen] = refusals.Load()
		if connected != nil {
			return connected(ctx, c)
		}
		return nil
	}
	cfg.PrepareConn = func(ctx context.Context, c *pgx.Conn) (bool, error) {
		data, now := c.PgConn().CustomData(), refusals.Load()
		if data[refusalsSeen] != now {
			var readOnly bool
			if err := c.QueryRow(ctx, `SELECT current_setting('transaction_read_only')::boolean`).Scan(&readOnly); err != nil || readOnly {
				return false, ctx.Err() // the pool closes the connection and tries another
			}
			data[refusalsSeen] = now
		}
		if prepare != nil {
			return prepare(ctx, c)
		}
		return true, nil
	}
}

// preferPrimary makes a connection string of several hosts mean the one that takes
// writes, unless it says which it means.
func preferPrimary(cfg *pgxpool.Config, source string) {
	if cfg.ConnConfig.ValidateConnect != nil || strings.Contains(source, "target_session_attrs") {
		return
	}
	for _, other := range cfg.ConnConfig.Fallbacks {
		if other.Host != cfg.ConnConfig.Host || other.Port != cfg.ConnConfig.Port {
			cfg.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
			return
		}
	}
}
