package pg_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// fill opens all connections of a pool.
func fill(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var held []*pgxpool.Conn
	for range pool.Config().MaxConns {
		c, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		held = append(held, c)
	}
	for _, c := range held {
		c.Release()
	}
}

// TestReadOnlyConnectionsAreDiscardedTogether fills a pool with read-only sessions, then
// makes new sessions writable, as a failover behind one name does.
func TestReadOnlyConnectionsAreDiscardedTogether(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	admin := pgtest.Open(t, url)
	var database string
	require.NoError(t, admin.QueryRow(ctx, `SELECT current_database()`).Scan(&database))
	_, err := admin.Exec(ctx, `CREATE TABLE written (n integer)`)
	require.NoError(t, err)
	_, err = admin.Exec(ctx, fmt.Sprintf(`ALTER DATABASE %q SET default_transaction_read_only = on`, database))
	require.NoError(t, err)
	pool, err := pg.Open(ctx, url, 8)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	fill(t, pool)
	write := func() error {
		_, err := pool.Exec(ctx, `INSERT INTO written VALUES (1)`)
		return err
	}

	var refused *pgconn.PgError
	for range 3 { // the whole database is read-only: each write says so, and reads work
		require.ErrorAs(t, write(), &refused)
		require.Equal(t, "25006", refused.Code)
		_, err = pool.Exec(ctx, `SELECT count(*) FROM written`)
		require.NoError(t, err)
	}

	fill(t, pool)
	_, err = admin.Exec(ctx, `SET default_transaction_read_only = off`)
	require.NoError(t, err)
	_, err = admin.Exec(ctx, fmt.Sprintf(`ALTER DATABASE %q RESET default_transaction_read_only`, database))
	require.NoError(t, err)
	require.Error(t, write(), "the connections are read-only still")
	for range 16 {
		require.NoError(t, write(), "after the first refusal no write meets another")
	}
}

// TestOfSeveralHostsThePrimaryIsUsed promotes a real standby.
func TestOfSeveralHostsThePrimaryIsUsed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	primary, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(primary.Stop)
	standby, err := primary.Follow(ctx, devserver.PostgresOptions{Dir: t.TempDir()}, "standby")
	require.NoError(t, err)
	t.Cleanup(standby.Stop)

	url := fmt.Sprintf("postgres://fanmail@127.0.0.1:%d,127.0.0.1:%d/postgres", standby.Port, primary.Port)
	given, err := pg.Parse(secret.Text(url + "?target_session_attrs=any"))
	require.NoError(t, err)
	require.Nil(t, given.ConnConfig.ValidateConnect, "what the string says is kept")
	pool, err := pg.Open(ctx, url, 4)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	write := func() (port int, err error) {
		_, err = pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS written (n integer)`)
		if err == nil {
			err = pool.QueryRow(ctx, `SELECT inet_server_port()`).Scan(&port)
		}
		return port, err
	}
	at, err := write()
	require.NoError(t, err)
	require.Equal(t, primary.Port, at, "the first host is a standby")

	fill(t, pool)
	primary.Stop()
	c, err := pgxpool.New(ctx, standby.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.Exec(ctx, `SELECT pg_promote()`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		at, err = write()
		return err == nil && at == standby.Port
	}, time.Minute, 10*time.Millisecond)
}
