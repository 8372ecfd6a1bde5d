package devserver_test

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

func TestPostgresThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	port, err := freeport.Find()
	require.NoError(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })

	dir, err := os.MkdirTemp("", "fanmail-devserver-") //nolint:usetesting // Postgres's user may not enter t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err = devserver.StartPostgres(t.Context(), devserver.PostgresOptions{Dir: dir, Port: port, Fast: true})
	require.ErrorContains(t, err, "it ended at once")
	require.ErrorContains(t, err, `could not create listen socket for "127.0.0.1"`)
}
