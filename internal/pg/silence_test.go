package pg_test

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAProgramsOwnWayToDialStays(t *testing.T) {
	t.Parallel()
	cfg, err := pgxpool.ParseConfig(pgtest.EmptyURL(t))
	require.NoError(t, err)
	var dialled atomic.Int32
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return dial(ctx, network, addr)
	}
	pg.Configure(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, pool.Ping(t.Context()))
	require.Equal(t, int32(1), dialled.Load())
}

func TestTheEngineConnectsByASocketOfTheFileSystem(t *testing.T) {
	t.Parallel()
	cfg, err := pg.Parse(secret.Text(pgtest.EmptyURL(t)))
	require.NoError(t, err)
	server := net.JoinHostPort(cfg.ConnConfig.Host, portOf(cfg))
	dir := t.TempDir()
	pgtest.NewProxy(t, server, "unix", filepath.Join(dir, ".s.PGSQL."+portOf(cfg)))
	cfg.ConnConfig.Host = dir
	pg.Configure(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	c, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer c.Release()
	require.NoError(t, c.Ping(t.Context()))
	require.IsType(t, &net.UnixConn{}, c.Conn().PgConn().Conn())
}

func portOf(cfg *pgxpool.Config) string { return strconv.Itoa(int(cfg.ConnConfig.Port)) }
