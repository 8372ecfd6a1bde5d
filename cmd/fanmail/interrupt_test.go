package main

import (
	"cmp"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/e2atest"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
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

// command runs the command fanmail, or one of the processes by its name and flags.
func command(t *testing.T, out *screen, args ...string) *exec.Cmd {
	t.Helper()
	name := "fanmail"
	switch args[0] {
	case "api", "publisher", "dispatcher", "ingest":
		name, args = args[0], args[1:]
	}
	c := exec.CommandContext(t.Context(), program(t, name), args...)
	c.Stdout, c.Stderr = out, out
	return c
}

// interruptible is a command that a test interrupts.
type interruptible struct {
	args func(t *testing.T) []string
	done string // is printed at the end of the command's work; "" if nothing is
	stay bool   // it goes on until it is interrupted
}

// local are the addresses of a server that chooses its ports.
func local() []string { return []string{"--api=127.0.0.1:0", "--smtp=127.0.0.1:0"} }

// interruptibles are the commands that work for longer than a request takes.
func interruptibles() map[string]interruptible {
	database := func(t *testing.T) string { return "--database-url=" + pgtest.URL(t) }
	empty := func(t *testing.T) string { return "--database-url=" + pgtest.EmptyURL(t) }
	broker := func(t *testing.T) string { return "--nats-url=" + natstest.URL(t) }
	with := func(settings ...func(*testing.T) string) func(command ...string) func(*testing.T) []string {
		return func(command ...string) func(*testing.T) []string {
			return func(t *testing.T) []string {
				args := slices.Clone(command)
				for _, set := range settings {
					args = append(args, set(t))
				}
				return args
			}
		}
	}
	working := "working"
	return map[string]interruptible{
		"up": {func(t *testing.T) []string { return append([]string{"--dir", openDir(t), "up"}, local()...) }, "Fanmail is up", true},
		"demo": {func(t *testing.T) []string {
			return append(append([]string{"--dir", t.TempDir(), "demo"}, local()...), empty(t), broker(t))
		}, "✓ done", false},
		"migrate":        {with(empty)("migrate"), "the schema is at version", false},
		"maintain":       {with(database)("maintain"), "", false},
		"maintain every": {with(database)("maintain", "--every=100ms"), working, true},
		"streams":        {with(broker)("streams"), "the streams are up to date", false},
		"streams every":  {with(broker)("streams", "--every=100ms"), "the streams are up to date", true},
		"fanout reset": {func(t *testing.T) []string {
			at := broker(t)
			must(t, t.TempDir(), "", "streams", at)
			return []string{"fanout", "reset", "--to-sequence=1", at}
		}, "the fan-out goes on from", false},
		"import e2a":        {importing(), "the import is complete", false},
		"import e2a follow": {importing("--follow"), "a pass is complete", true},
		"secrets rotate":    {rotation, "are encrypted with key", false},
		"replay":            {func(t *testing.T) []string { return replaying(t, nil) }, "completed", false},
		"replay watch": {func(t *testing.T) []string {
			hold := make(chan struct{})
			t.Cleanup(func() { close(hold) })
			args := replaying(t, hold)
			id := object(t, must(t, args[1], "", append(args[2:], "--detach", "--json")...))["id"].(string)
			return []string{"--dir", args[1], "replay", "watch", id}
		}, "", true},
		"listen":      {func(t *testing.T) []string { return []string{"--dir", up(t), "listen"} }, "listening on", true},
		"events tail": {func(t *testing.T) []string { return []string{"--dir", up(t), "events", "tail"} }, "watching", true},
		"api":         {with(database, broker)("api", "--api-addr=127.0.0.1:0", "--http-addr=off"), working, true},
		"publisher":   {with(database, broker)("publisher", "--http-addr=off"), working, true},
		"dispatcher":  {with(database, broker)("dispatcher", "--http-addr=off"), working, true},
		"ingest":      {with(database, broker)("ingest", "--smtp-addr=127.0.0.1:0", "--http-addr=off"), working, true},
	}
}

// replaying returns a command that replays three events to a receiver, which answers after
// hold is closed, or at once if it is nil.
func replaying(t *testing.T, hold chan struct{}) []string {
	t.Helper()
	dir := up(t)
	receiver := sink.New(t)
	must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.received")
	for range 3 {
		must(t, dir, `{"n":1}`, "events", "create", "email.received")
	}
	require.NoError(t, receiver.WaitForPath(t.Context(), "/in", 3))
	if hold != nil {
		receiver.Script("/in", sink.Hang(hold))
	}
	return []string{"--dir", dir, "replay", "--since=1h", "--mode=all"}
}

// importing returns a function that returns a command with an e2a database to import.
func importing(more ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		there := e2atest.New(t, "https://hooks.example.com")
		there.Fill(t, 1000)
		return append([]string{"import", "e2a", "--from=" + there.URL, "--database-url=" + pgtest.URL(t)}, more...)
	}
}

// rotation returns a command that encrypts the secrets of a hundred webhooks.
func rotation(t *testing.T) []string {
	t.Helper()
	url := pgtest.URL(t)
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	defer pool.Close()
	_, err = pool.Exec(t.Context(), `WITH t AS (INSERT INTO fanmail.tenants (id, name) VALUES (gen_random_uuid(), 'test') RETURNING id)
		INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret)
		SELECT gen_random_uuid(), t.id, 'https://hooks.example.com/', '{email.received}', $1 FROM t, generate_series(1, 100)`, signature.NewSecret())
	require.NoError(t, err)
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	return []string{"secrets", "rotate", "--database-url=" + url, "--secrets-key=" + keyring.Base64(text)}
}

// TestACommandMayBeInterruptedAtAnyMoment interrupts each command at a random moment in each part of its life, which is
// measured first, and then runs it whole.
func TestACommandMayBeInterruptedAtAnyMoment(t *testing.T) {
	t.Parallel()
	const parts = 6
	for name, tc := range interruptibles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			life := tc.whole(t, tc.args(t))
			args := tc.args(t) // anew: the first run may have more to do than later ones
			for i := range parts {
				moment := time.Duration((float64(i) + rand.Float64()) / parts * float64(life))
				var out screen
				c := command(t, &out, args...)
				require.NoError(t, c.Start())
				ended := make(chan error, 1)
				go func() { ended <- c.Wait() }()
				select {
				case <-time.After(moment):
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
					require.Fail(t, "the interrupt has no effect", "after %s of %s: %s", moment, life, out.String())
				}
				t.Logf("interrupted after %s of %s, ended after %s", moment, life, time.Since(began).Round(time.Millisecond))
			}
			tc.whole(t, args)
		})
	}
}

// whole runs the command to the end of its work, and returns how long that took.
func (c *interruptible) whole(t *testing.T, args []string) (took time.Duration) {
	t.Helper()
	var out screen
	run := command(t, &out, args...)
	began := time.Now()
	require.NoError(t, run.Start())
	if c.done != "" {
		out.shows(t, c.done)
		took = time.Since(began)
	}
	if c.stay {
		took = cmp.Or(took, time.Second)
		_ = run.Process.Signal(os.Interrupt)
		interrupted(t, run.Wait(), out.String())
		return took
	}
	require.NoError(t, run.Wait(), "%s", out.String())
	return cmp.Or(took, time.Since(began))
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
	require.NotContains(t, out, "fanmail: context canceled", "it says what was stopped")
	// A line of the log, written at the same moment, may follow it.
	require.Regexp(t, "stopped|canceled|interrupt signal received", out)
}

func TestAFullDiskIsNamed(t *testing.T) {
	t.Parallel()
	var out screen
	c := command(t, &out, "--dir", openDir(t), "up", "--api=127.0.0.1:0", "--smtp=127.0.0.1:0")
	// A bound of files' sizes, which needs no rights, is met like the end of a disk.
	c.Args = append([]string{"sh", "-c", `ulimit -f 64; exec "$0" "$@"`, c.Path}, c.Args[1:]...)
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
