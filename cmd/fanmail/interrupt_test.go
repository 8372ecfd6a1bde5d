package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// openDir returns a directory that Postgres's user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanmail-cmd-") //nolint:usetesting // Postgres's user may not enter t.TempDir
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// command returns this test's binary as the command.
func command(t *testing.T, out *screen, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), asCommand+"=1")
	c.Stdout, c.Stderr = out, out
	return c
}

// TestACommandMayBeInterruptedAtAnyMoment interrupts each command at twenty moments of its life, which is measured first,
// and then runs it whole.
func TestACommandMayBeInterruptedAtAnyMoment(t *testing.T) {
	t.Parallel()
	const moments = 20
	servers := func(t *testing.T) []string {
		return []string{"--database-url=" + pgtest.EmptyURL(t), "--nats-url=" + natstest.URL(t)}
	}
	local := []string{"--api=127.0.0.1:0", "--smtp=127.0.0.1:0"}
	for name, tc := range map[string]struct {
		args func(t *testing.T) []string
		done string // is printed at the end of the command's work
		stay bool   // it goes on until it is interrupted
	}{
		"up": {func(t *testing.T) []string { return append([]string{"--dir", openDir(t), "up"}, local...) }, "Fanmail is up", true},
		"demo": {func(t *testing.T) []string {
			return append(append([]string{"--dir", t.TempDir(), "demo"}, local...), servers(t)...)
		}, "✓ done", false},
		"migrate": {func(t *testing.T) []string { return append([]string{"migrate"}, servers(t)[0]) }, "the schema is at version", false},
		"streams": {func(t *testing.T) []string { return append([]string{"streams"}, servers(t)[1]) }, "the streams are up to date", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := func(args []string) time.Duration {
				began := time.Now()
				var out screen
				c := command(t, &out, args...)
				require.NoError(t, c.Start())
				out.shows(t, tc.done)
				took := time.Since(began)
				if tc.stay {
					require.NoError(t, c.Process.Signal(os.Interrupt))
				}
				require.NoError(t, c.Wait(), "%s", out.String())
				return took
			}
			life := whole(tc.args(t))
			args := tc.args(t)
			for i := range moments {
				var out screen
				c := command(t, &out, args...)
				require.NoError(t, c.Start())
				ended := make(chan error, 1)
				go func() { ended <- c.Wait() }()
				select {
				case <-time.After(life * time.Duration(i+1) / moments): // the moment is what is tested
				case err := <-ended:
					ended <- err
				}
				_ = c.Process.Signal(os.Interrupt)
				began := time.Now()
				select {
				case err := <-ended:
					interrupted(t, err, out.String())
				case <-time.After(patience):
					_ = c.Process.Kill()
					require.Fail(t, "the interrupt has no effect", "moment %d: %s", i, out.String())
				}
				t.Logf("moment %d: ended after %s", i, time.Since(began).Round(time.Millisecond))
			}
			whole(args)
		})
	}
}

// interrupted checks the end of an interrupted command: by itself, without a message that suggests a fault.
func interrupted(t *testing.T, err error, out string) {
	t.Helper()
	var exit *exec.ExitError
	if err == nil {
		return
	}
	require.ErrorAs(t, err, &exit)
	status, _ := exit.Sys().(syscall.WaitStatus)
	if status.Signaled() { // before the program could catch it
		require.Equal(t, syscall.SIGINT, status.Signal(), out)
		return
	}
	require.Equal(t, 1, exit.ExitCode(), out)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	require.Regexp(t, "stopped|canceled", last)
}

func TestAFullDiskIsNamed(t *testing.T) {
	t.Parallel()
	var out screen
	c := command(t, &out, "--dir", openDir(t), "up", "--api=127.0.0.1:0", "--smtp=127.0.0.1:0")
	// A bound of files' sizes, which needs no rights, is met like the end of a disk.
	c.Args = append([]string{"sh", "-c", `ulimit -f 64; exec "$0" "$@"`, os.Args[0]}, c.Args[1:]...)
	c.Path = "/bin/sh"
	require.Error(t, c.Run())
	require.Contains(t, out.String(), "could not write")
	require.Contains(t, out.String(), "File too large")
}

func TestAWaitSaysWhatForAndCanBeBounded(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"migrate", "--database-url=postgres://fan@127.0.0.1:1/x"},
		{"keys", "bootstrap", "--database-url=postgres://fan@127.0.0.1:1/x"},
		{"streams", "--nats-url=nats://127.0.0.1:1"},
		{"--dir", t.TempDir(), "up", "--api=127.0.0.1:0", "--smtp=127.0.0.1:0", "--database-url=postgres://fan@127.0.0.1:1/x"},
	} {
		var out screen
		c := command(t, &out, append(args, "--wait=300ms")...)
		require.Error(t, c.Run())
		require.Contains(t, out.String(), "bounded_by")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		last := lines[len(lines)-1]
		require.Regexp(t, `^fanmail: waited \S+ for the (database|broker): --wait \(FANMAIL_WAIT\) allows for 300ms; the last error: .*(connection refused|no servers available)`, last)
	}
}

func TestSendingToAServerThatDoesNotSpeakSMTPSaysSo(t *testing.T) {
	t.Parallel()
	r, err := newReceiver(t.Context(), "127.0.0.1:0", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.listener.Close() })
	out, code := fanmail(t, t.TempDir(), "Subject: x\n\nx\n", "send", "-", "--to", "a@b.example", "--smtp", r.listener.Addr().String())
	require.Equal(t, 1, code)
	require.Contains(t, out, "did not greet like an SMTP server")
}
