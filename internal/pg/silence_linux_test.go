package pg_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// The kernel would send again to a host that is gone for a quarter of an hour.
func TestAConnectionWhosePeerIsGoneEndsWithinAMinute(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), pgtest.EmptyURL(t)
	for name, open := range map[string]func() (*pgxpool.Pool, error){
		"a process's pool": func() (*pgxpool.Pool, error) { return pg.Open(ctx, url, 1) },
		"a pool for a migration or an import": func() (*pgxpool.Pool, error) {
			cfg, err := pg.Parse(secret.Text(url))
			require.NoError(t, err)
			return pgxpool.NewWithConfig(ctx, cfg)
		},
		"a pool like a program's": func() (*pgxpool.Pool, error) {
			own, err := pgxpool.New(ctx, url)
			require.NoError(t, err)
			defer own.Close()
			return engine.Pool(ctx, own, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool, err := open()
			require.NoError(t, err)
			defer pool.Close()
			c, err := pool.Acquire(ctx)
			require.NoError(t, err)
			defer c.Release()
			raw, err := c.Conn().PgConn().Conn().(*net.TCPConn).SyscallConn()
			require.NoError(t, err)
			read := func(level, option int) (value int) {
				require.NoError(t, raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, option) }))
				require.NoError(t, err)
				return value
			}
			const userTimeout = 0x12 // package syscall lacks its name
			require.Equal(t, 30_000, read(syscall.IPPROTO_TCP, userTimeout), "milliseconds")
			require.Equal(t, 1, read(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))
			idle, interval, count := read(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), read(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL), read(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
			require.Equal(t, 30, idle+interval*count, "seconds")
		})
	}
}
