package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/process"
)

// rig is a whole Fanmail: a durable Postgres, a NATS and the four commands, each a process that can be
// killed.
type rig struct {
	t       testing.TB
	pool    *pgxpool.Pool
	bin     string // the commands
	natsDir string
	smtp    string
	api     string
	running map[string]*process.Process
}

var commands = []string{"api", "ingest", "publisher", "dispatcher"}

// newRig starts a rig. env is added to the environment of each command.
func newRig(ctx context.Context, t testing.TB, env ...string) *rig {
	t.Helper()
	return newRigOf(ctx, t, built(t), env...)
}

// programDir holds this release's programs once [built] was called. Linking them takes seconds, so it
// is done once for all tests.
var (
	programDir string
	buildOnce  = sync.OnceValue(func() error {
		return process.Build(context.Background(), programDir, append(programs(), "cmd/fanmail")...)
	})
)

func built(t testing.TB) string {
	t.Helper()
	require.NoError(t, buildOnce())
	return programDir
}

func TestMain(m *testing.M) {
	var err error
	if programDir, err = os.MkdirTemp("", "fanmail-e2e-bin-"); err != nil {
		panic(err)
	}
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked && runtime.GOMAXPROCS(0) < 4 {
		// Most of a test's time is spent waiting for other processes.
		if err = flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(programDir)
	os.Exit(code)
}

// programs are the directories of what a rig runs.
func programs() []string {
	dirs := []string{"test/natsd"}
	for _, c := range commands {
		dirs = append(dirs, "cmd/"+c)
	}
	return dirs
}

// newRigOf starts a rig of the programs in bin.
func newRigOf(ctx context.Context, t testing.TB, bin string, env ...string) *rig {
	t.Helper()
	dir := openDir(t)

	logs := filepath.Join(dir, "logs")
	require.NoError(t, os.Mkdir(logs, 0o700))

	pg, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(pg.Stop)
	pool, err := pgxpool.New(ctx, pg.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	r := &rig{t: t, pool: pool, bin: bin, natsDir: filepath.Join(dir, "nats"), smtp: freeAddr(t), api: freeAddr(t), running: map[string]*process.Process{}}
	t.Cleanup(r.end)
	nats := freeAddr(t)
	_, port, err := net.SplitHostPort(nats)
	require.NoError(t, err)
	r.start(ctx, process.Spec{
		Name: "nats", Bin: filepath.Join(bin, "natsd"), Logs: logs, Ready: nats,
		Args: []string{"-dir", r.natsDir, "-port", port},
	})
	for _, c := range commands {
		health := freeAddr(t)
		r.start(ctx, process.Spec{
			Name: c, Bin: filepath.Join(bin, c), Logs: logs, Ready: "http://" + health + "/readyz",
			Env: append([]string{
				"FANMAIL_DATABASE_URL=" + pg.URL("postgres"), "FANMAIL_NATS_URL=nats://" + nats, "FANMAIL_MIGRATE=true",
				"FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8",
				"FANMAIL_MAIL_AUTH=false", // it needs DNS
				"FANMAIL_SMTP_ADDR=" + r.smtp, "FANMAIL_API_ADDR=" + r.api, "FANMAIL_HTTP_ADDR=" + health,
			}, env...),
		})
	}
	return r
}

func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := process.FreeAddr()
	require.NoError(t, err)
	return addr
}

func (r *rig) start(ctx context.Context, s process.Spec) {
	r.t.Helper()
	p, err := process.Start(ctx, s)
	require.NoError(r.t, err)
	r.running[s.Name] = p
}

// crash kills a process with SIGKILL, calls while, and starts the process again.
func (r *rig) crash(ctx context.Context, name string, while func()) {
	r.t.Helper()
	r.t.Logf("SIGKILL %s", name)
	p := r.running[name]
	p.Kill()
	if while != nil {
		while()
	}
	r.start(ctx, p.Spec)
}

// stop stops every command in order, which must succeed.
func (r *rig) stop(ctx context.Context) {
	r.t.Helper()
	for _, c := range commands {
		require.NoError(r.t, r.running[c].Stop(ctx))
	}
}

// end kills what still runs. If the test failed it prints the end of its output.
func (r *rig) end() {
	for name, p := range r.running {
		p.Kill()
		if r.t.Failed() {
			r.t.Logf("the output of %s ends:\n%s", name, p.Tail(30))
		}
	}
}

// count returns the number that a query selects.
func (r *rig) count(ctx context.Context, sql string) int {
	var n int
	if err := r.pool.QueryRow(ctx, sql).Scan(&n); err != nil {
		r.t.Errorf("%s: %v", sql, err)
	}
	return n
}

// retryNow waits until one delivery has failed once, and makes it due a minute early.
func (r *rig) retryNow(ctx context.Context) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		done, err := r.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE status = 'pending' AND attempts = 1`)
		require.NoError(r.t, err)
		return done.RowsAffected() == 1
	}, time.Minute, 20*time.Millisecond)
}

// operatorKey creates a key that may create tenants.
func (r *rig) operatorKey(ctx context.Context) string {
	r.t.Helper()
	key, err := tenancy.BootstrapOperatorKey(ctx, r.pool)
	require.NoError(r.t, err)
	return key
}

// call makes an API request and decodes the answer into out.
func (r *rig) call(ctx context.Context, key, method, path string, in, out any) {
	r.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		require.NoError(r.t, err)
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.api+path, body)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	require.Less(r.t, resp.StatusCode, 300, "%s %s: %s", method, path, b)
	if out != nil {
		require.NoError(r.t, json.Unmarshal(b, out), "%s %s: %s", method, path, b)
	}
}
