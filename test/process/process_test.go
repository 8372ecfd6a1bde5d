package process_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/process"
)

func TestProcessIsKilledStartedAgainAndStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	require.NoError(t, process.Build(ctx, dir, "test/natsd"))
	addr, err := process.FreeAddr()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)

	first, err := process.Start(ctx, process.Spec{
		Name: "nats", Bin: filepath.Join(dir, "natsd"), Logs: dir, Ready: addr,
		Args: []string{"-dir", filepath.Join(dir, "nats"), "-port", port},
	})
	require.NoError(t, err)
	first.Kill()
	_, err = net.Dial("tcp", addr)
	require.Error(t, err, "nobody listens any more")

	second, err := first.Again(ctx)
	require.NoError(t, err)
	require.NotEqual(t, first.PID(), second.PID())
	require.NoError(t, second.Stop(ctx))
	require.Contains(t, second.Tail(1), addr, "the output of both is kept")
}

func TestProcessThatEndsAtOnceSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := process.Start(t.Context(), process.Spec{
		Name: "sh", Bin: "/bin/sh", Args: []string{"-c", "echo no such setting; exit 3"}, Logs: t.TempDir(), Ready: "127.0.0.1:1",
	})
	require.ErrorContains(t, err, "it ended at once")
	require.ErrorContains(t, err, "no such setting")
}

func TestProcessThatWillNotStopIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, err := process.Start(t.Context(), process.Spec{
		Name: "sh", Bin: "/bin/sh", Args: []string{"-c", `trap "" TERM; exec tail -f /dev/null`}, Logs: dir,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Stop(ctx), context.Canceled)
	select {
	case <-p.Exited():
	default:
		t.Fatal("Stop returned before the process had gone")
	}
}
