package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/process"
)

// patience bounds each wait. No test asserts a duration.
const patience = time.Minute

// programs is the directory of the commands, built as they are shipped, so that tests can kill them. [program] fills it.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fanmail-programs-")
	if err != nil {
		panic(err)
	}
	programs = dir
	// Without the ballast of the heap, which Go clears anew for each of hundreds of processes.
	_ = os.Setenv("GOGC", "100")
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	return process.Build(context.Background(), programs, "cmd/fanmail", "cmd/api", "cmd/publisher", "cmd/dispatcher", "cmd/ingest")
})

// program returns the file of a command, such as "publisher".
func program(t *testing.T, name string) string {
	t.Helper()
	require.NoError(t, build())
	return filepath.Join(programs, name)
}

// screen holds the output of a command so far.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *screen) shows(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(s.String(), text) },
		patience, 10*time.Millisecond, "%q appears", text)
}

// fanmail runs a command to its end and returns its output.
func fanmail(t *testing.T, dir, stdin string, args ...string) (out string, code int) {
	t.Helper()
	var b screen
	code = run(t.Context(), append([]string{"--dir", dir}, args...), &session{in: strings.NewReader(stdin), out: &b, err: &b})
	return b.String(), code
}

// must is fanmail for commands that must succeed.
func must(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	out, code := fanmail(t, dir, stdin, args...)
	require.Zero(t, code, "%v: %s", args, out)
	return out
}

// background runs a command until the test ends or stop is called.
func background(t *testing.T, dir string, args ...string) (*screen, func() int) {
	t.Helper()
	out := &screen{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{"--dir", dir}, args...), &session{in: strings.NewReader(""), out: out, err: out})
	}()
	stop := sync.OnceValue(func() int {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	return out, stop
}

// up runs all of Fanmail until the test ends. It returns the directory.
func up(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan app.Credentials, 1)
	done := make(chan error, 1)
	go func() {
		done <- app.RunUp(ctx, app.UpConfig{
			Dir: dir, APIAddr: "127.0.0.1:0", SMTPAddr: "127.0.0.1:0",
			DatabaseURL: secret.Text(pgtest.EmptyURL(t)), NATSURL: secret.Text(natstest.URL(t)),
			Ready: func(c app.Credentials) { ready <- c },
		}, zap.NewNop())
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.FailNow()
	}
	return dir
}

func TestFaultsAreOneLineAndNameWhatToDo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"webhooks", "list"}, "start `fanmail up`"},
		{[]string{"webhooks", "list", "--api", "http://127.0.0.1:1"}, "the API key is missing: set --key (FANMAIL_KEY); no credentials in"},
		{[]string{"webhooks", "list", "--key", "fm_x"}, "the URL of the API is missing: set --api (FANMAIL_API); no credentials in"},
		{[]string{"send", "-", "--to", "a@b.example"}, "set --smtp (FANMAIL_SMTP)"},
		{[]string{"send", "absent.eml", "--to", "a@b.example", "--smtp", "127.0.0.1:1"}, "absent.eml"},
		{[]string{"send", "-", "--to", "a@b.example", "--smtp", "127.0.0.1:1"}, "reach the SMTP server"},
		{[]string{"send", "-", "--to", "a@b.example", "--count", "0"}, "--count"},
		{[]string{"listen", "--fail-rate", "200"}, "--fail-rate"},
		{[]string{"listen", "--forward", "nowhere"}, "--forward"},
		{[]string{"events", "list", "--since", "yesterday"}, "--since"},
		{[]string{"webhooks", "list", "--api", "http://127.0.0.1:1", "--key", "k"}, "http://127.0.0.1:1"},
		{[]string{"migrate"}, "set --database-url (FANMAIL_DATABASE_URL)"},
		{[]string{"up", "--api", "x"}, "--api (FANMAIL_API_ADDR)"},
		{[]string{"conquer"}, "conquer"},
	} {
		out, code := fanmail(t, t.TempDir(), "", tc.args...)
		require.Equal(t, 1, code, "%v", tc.args)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		last := lines[len(lines)-1]
		require.Contains(t, last, tc.want, "%v", tc.args)
		require.True(t, strings.HasPrefix(last, "fanmail: "), last)
	}
}

func TestAKilledUpLeavesNoPostgresAndTheNextGoesOn(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "fanmail-kill-") //nolint:usetesting // Postgres's user must walk to it
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })

	killed := exec.CommandContext(t.Context(), program(t, "fanmail"), "--dir", dir, "up", "--api", "127.0.0.1:0", "--smtp", "127.0.0.1:0")
	var said screen
	killed.Stdout, killed.Stderr = &said, &said
	require.NoError(t, killed.Start())
	said.shows(t, "Fanmail is up")
	must(t, dir, "", "agents", "create", "kept@fanmail.example")
	require.NoError(t, killed.Process.Signal(syscall.SIGKILL))
	require.Error(t, killed.Wait())

	out, stop := background(t, dir, "up", "--api", "127.0.0.1:0", "--smtp", "127.0.0.1:0")
	out.shows(t, "Fanmail is up")
	require.Contains(t, must(t, dir, "", "agents", "list"), "kept@fanmail.example")
	require.Zero(t, stop(), out)
	_, err = os.Stat(dir + "/postgres/postmaster.pid")
	require.ErrorIs(t, err, os.ErrNotExist, "Postgres has stopped")
}

func TestTheDemoEndsByItselfWithAVerifiedWebhook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"demo", "--api", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--database-url", pgtest.EmptyURL(t), "--nats-url", natstest.URL(t)}
	for range 2 {
		out := must(t, dir, "", args...)
		require.Contains(t, out, "✓ email.received")
		require.Contains(t, out, "attempt 1  verified")
		require.Contains(t, out, "✓ done")
	}
}
