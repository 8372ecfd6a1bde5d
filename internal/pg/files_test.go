package pg_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

// TestNewConnectionsUseRotatedCertificates replaces the certificates of server, authority
// and client while a pool is open.
func TestNewConnectionsUseRotatedCertificates(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "fanmail-tls-") //nolint:usetesting // the user of the Postgres process needs access
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	server, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	admin, err := pgx.Connect(ctx, server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Close(context.Background()) })

	owner, err := os.Stat(server.DataDir)
	require.NoError(t, err)
	own := owner.Sys().(*syscall.Stat_t)
	theirs, ours := tlstest.In(server.DataDir, "server"), tlstest.In(t.TempDir(), "client")
	rotate := func(serial int64) {
		authority := tlstest.New(t)
		authority.Write(theirs, 100+serial)
		for _, f := range []string{theirs.Cert, theirs.Key, theirs.CA} {
			require.NoError(t, os.Chown(f, int(own.Uid), int(own.Gid)))
		}
		var before time.Time
		require.NoError(t, admin.QueryRow(ctx, `SELECT pg_conf_load_time()`).Scan(&before))
		for _, sql := range []string{`ALTER SYSTEM SET ssl = on`, `ALTER SYSTEM SET ssl_ca_file = 'server-ca.crt'`, `SELECT pg_reload_conf()`} {
			_, err := admin.Exec(ctx, sql)
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool {
			var after time.Time
			require.NoError(t, admin.QueryRow(ctx, `SELECT pg_conf_load_time()`).Scan(&after))
			return after.After(before)
		}, time.Minute, 10*time.Millisecond)
		authority.Write(ours, serial)
	}
	rotate(7)
	u, err := url.Parse(server.URL("postgres"))
	require.NoError(t, err)
	u.RawQuery = url.Values{
		"sslmode": {"verify-full"}, "sslrootcert": {ours.CA}, "sslcert": {ours.Cert}, "sslkey": {ours.Key},
	}.Encode()
	pool, err := pg.Open(ctx, u.String(), 1)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.Eventually(t, func() bool { return serial(ctx, pool) == "7" }, time.Minute, 20*time.Millisecond, "the server has enabled TLS")

	rotate(8)
	require.Equal(t, "7", serial(ctx, pool), "an open connection stays")
	pool.Reset()
	require.Eventually(t, func() bool { return serial(ctx, pool) == "8" }, time.Minute, 20*time.Millisecond)

	// A half-written certificate fails a connection. The next one works.
	whole, err := os.ReadFile(ours.Cert)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ours.Cert, whole[:10], 0o600))
	pool.Reset()
	require.Contains(t, serial(ctx, pool), "certificates")
	require.NoError(t, os.WriteFile(ours.Cert, whole, 0o600))
	require.Equal(t, "8", serial(ctx, pool))
}

// serial returns the serial number of the client certificate that the server saw, or an
// error.
func serial(ctx context.Context, pool *pgxpool.Pool) string {
	var n string
	if err := pool.QueryRow(ctx, `SELECT client_serial::text FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl`).Scan(&n); err != nil {
		return fmt.Sprint(err)
	}
	return n
}
