// Package pgbouncer starts a PgBouncer on loopback, as a process of its own, before a database of a test.
package pgbouncer

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

// Options configure a PgBouncer.
type Options struct {
	// Mode is pool_mode: "transaction" or "session".
	Mode string
	// Ignore are the parameters of a connection's start that are dropped; others, but for the few that PgBouncer
	// knows, are refused.
	Ignore []string
}

// Start starts a PgBouncer that the test ends, and returns the URL of the database behind it.
func Start(t testing.TB, database string, o Options) string {
	t.Helper()
	u, err := url.Parse(database)
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(u.Host)
	require.NoError(t, err)
	listen, err := freeport.Find()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "fanmail-pgbouncer-") //nolint:usetesting // another user must enter it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // as above
	name := strings.TrimPrefix(u.Path, "/")
	config := filepath.Join(dir, "pgbouncer.ini")
	lines := []string{
		"[databases]", fmt.Sprintf("%s = host=%s port=%s user=%s", name, host, port, u.User.Username()),
		"[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = " + strconv.Itoa(listen), "unix_socket_dir =",
		"auth_type = any", "pool_mode = " + o.Mode, "max_client_conn = 500", "default_pool_size = 40",
		"ignore_startup_parameters = " + strings.Join(append([]string{"extra_float_digits"}, o.Ignore...), ","),
	}
	require.NoError(t, os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o644)) //nolint:gosec // as above
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	cmd := exec.CommandContext(context.Background(), program, "-q", config) //nolint:gosec // found by us
	if os.Geteuid() == 0 {                                                  // it refuses to run as root
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody(t)}
	}
	logs := &strings.Builder{}
	cmd.Stderr = logs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(listen))
	require.Eventually(t, func() bool {
		conn, err := pgconn.Connect(context.Background(), u.String())
		if err != nil {
			return false
		}
		return conn.Close(context.Background()) == nil
	}, time.Minute, 20*time.Millisecond, "PgBouncer answers")
	return u.String()
}

func nobody(t testing.TB) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	require.NoError(t, err)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
