package devserver_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
)

// The test program runs itself as the process that starts Postgres and is killed.
const parentOf = "DEVSERVER_TEST_PARENT_OF"

func TestMain(m *testing.M) {
	dir := os.Getenv(parentOf)
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := devserver.StartPostgres(context.Background(), devserver.PostgresOptions{Dir: dir, Fast: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("started")
	select {}
}

// publicDir creates a directory that Postgres's user may enter, unlike t.TempDir.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanmail-devserver-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// proc reads a field of /proc/PID/status.
func proc(t *testing.T, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	require.Fail(t, "no such field", field)
	return ""
}

// postmaster is the process id of the server whose data lies in dir.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "postgres", "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := bytes.Cut(b, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	require.NoError(t, err)
	return pid
}

func TestPostgresStopsWhenItsParentIsKilled(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	self, err := os.Executable()
	require.NoError(t, err)
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), parentOf+"="+dir)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err, "the parent has started Postgres")
	pid := postmaster(t, dir)
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
		return os.IsNotExist(err)
	}, 20*time.Second, 20*time.Millisecond, "Postgres runs on")
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	}, 20*time.Second, 20*time.Millisecond, "the supervisor did not remove the data")
}

func TestTheSupervisorBlocks(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	p, err := devserver.StartPostgres(t.Context(), devserver.PostgresOptions{Dir: dir, Fast: true})
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	supervisor, err := strconv.Atoi(proc(t, postmaster(t, dir), "PPid"))
	require.NoError(t, err)
	// The kernel may leave a child out of this list while some process exits, but it never adds one.
	listed := func() []string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", supervisor, supervisor))
		require.NoError(t, err)
		return strings.Fields(string(b))
	}
	var children []string
	require.Eventually(t, func() bool { children = listed(); return len(children) == 2 }, time.Minute, time.Millisecond,
		"Postgres, and the process that reads the pipe")
	// A process that polls, or waits for one that does, is scheduled once for each poll.
	asleep := func() string {
		state := proc(t, supervisor, "voluntary_ctxt_switches")
		for _, c := range children {
			if pid, err := strconv.Atoi(c); err == nil && pid != postmaster(t, dir) {
				state += " " + proc(t, pid, "voluntary_ctxt_switches")
			}
		}
		require.Subset(t, children, listed(), "the supervisor forked")
		return state
	}
	before := asleep()
	require.Never(t, func() bool { return asleep() != before }, time.Second, 10*time.Millisecond, "the supervisor woke up")
}
