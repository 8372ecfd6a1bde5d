package devserver_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

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

	_, err = devserver.StartPostgres(t.Context(), devserver.PostgresOptions{Dir: root(t), Port: port, Fast: true})
	require.ErrorContains(t, err, "it ended at once")
	require.ErrorContains(t, err, `could not create listen socket for "127.0.0.1"`)
}

// root returns a directory that Postgres's user may enter.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanmail-devserver-") //nolint:usetesting // Postgres's user may not enter t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func TestAnInterruptedFirstStartLeavesAFolderThatStarts(t *testing.T) {
	t.Parallel()
	dir := root(t)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			p, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
			if err == nil {
				p.Stop()
			}
			done <- err
		}()
		// initdb has begun to write: PG_VERSION is among its first files.
		require.Eventually(t, func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, "postgres*", "PG_VERSION"))
			return len(found) > 0 || len(done) > 0
		}, time.Minute, time.Millisecond)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
	p, err := devserver.StartPostgres(t.Context(), devserver.PostgresOptions{Dir: dir})
	require.NoError(t, err)
	p.Stop()
	left, err := filepath.Glob(filepath.Join(dir, "postgres.new-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
