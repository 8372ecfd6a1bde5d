package devserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

// MinPostgres is the oldest major version that Fanmail runs on.
const MinPostgres = 15

// PostgresOptions say how the private Postgres is to run.
type PostgresOptions struct {
	// Dir holds the data in its folder "postgres"; made where missing.
	Dir string
	// Port on 127.0.0.1; 0 picks a free one.
	Port int
	// Fast gives up durability for speed, for tests: a crash of the machine
	// (not of the process) may then lose data. It also removes Dir at the end.
	Fast bool
	// Settings are added to the server's command line.
	Settings map[string]string
	// Env is added to the server's environment.
	Env []string
	Log *zap.Logger
}

// Postgres is a running private Postgres.
type Postgres struct {
	// Port it listens on, on 127.0.0.1.
	Port int
	// DataDir is where its data lies.
	DataDir string

	supervisor *exec.Cmd
	hold       io.Closer
	exited     chan struct{}
}

// ErrNoPostgres says that the machine has no Postgres binaries.
var ErrNoPostgres = fmt.Errorf("no Postgres %d or later was found on this machine: run `make setup`, or give --database-url", MinPostgres)

// supervise runs Postgres until its standard input ends, which is when the
// process that started it has gone, and then shuts it down. "$1" is the data
// directory to remove afterwards, or empty.
const supervise = `
rm="$1"; shift
trap '' INT TERM HUP
( trap - INT; exec "$@" ) </dev/null 3<&- & pid=$!
cat <&3 >/dev/null & reader=$!
# Whichever ends first: the pipe, or Postgres.
while kill -0 $pid 2>/dev/null && kill -0 $reader 2>/dev/null; do sleep 0.05; done
kill -INT $pid 2>/dev/null
wait $pid; code=$?
kill -KILL $reader 2>/dev/null
[ -z "$rm" ] || rm -rf "$rm"
exit $code
`

// StartPostgres starts a private Postgres and waits until it answers. The
// first start makes the database cluster. It returns [ErrNoPostgres] where the
// machine has no binaries.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	bin, err := findPostgres(ctx)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := dataDir(o.Dir, cred, o.Log)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		o.Log.Info("creating the database cluster", zap.String("dir", dir))
		args := []string{"-D", dir, "-U", "fanmail", "-A", "trust", "-E", "UTF8", "--locale=C"}
		if o.Fast {
			args = append(args, "--no-sync")
		}
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), args...) //nolint:gosec // the binary was found by us
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("initdb: %w: %s", err, lastLine(out))
		}
	}
	if o.Port == 0 { // not before initdb, which takes its time
		if o.Port, err = freeport.Find(); err != nil {
			return nil, err
		}
	}
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(o.Port), "unix_socket_directories": "",
		"max_connections": "200", "shared_buffers": "256MB", "max_wal_size": "4GB", "jit": "off",
		"max_locks_per_transaction": "256", "wal_compression": "on", "log_min_messages": "warning",
	}
	remove := ""
	if o.Fast {
		remove = o.Dir
		if cred != nil { // or the supervisor could not remove it
			if err := os.Chown(o.Dir, int(cred.Uid), int(cred.Gid)); err != nil {
				return nil, fmt.Errorf("data directory: %w", err)
			}
		}
		for _, s := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
			settings[s] = "off"
		}
		settings["shared_buffers"] = "128MB"
		settings["max_connections"] = "400"
	}
	for k, v := range o.Settings {
		settings[k] = v
	}
	args := []string{"-c", supervise, "fanmail-postgres", remove, filepath.Join(bin, "postgres"), "-D", dir}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", k+"="+settings[k])
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("supervise Postgres: %w", err)
	}
	defer func() { _ = r.Close() }()
	logs, err := os.OpenFile(filepath.Join(o.Dir, "postgres.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("open Postgres's log: %w", err)
	}
	defer func() { _ = logs.Close() }()
	before, err := logs.Seek(0, io.SeekEnd)
	if err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("open Postgres's log: %w", err)
	}
	cmd := exec.Command("/bin/sh", args...) //nolint:gosec,noctx // outlives the call; ends with the pipe
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.ExtraFiles = []*os.File{r}
	// A group of its own: Ctrl-C at the terminal is for Fanmail, which stops
	// Postgres when it has drained.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	p := &Postgres{Port: o.Port, DataDir: dir, supervisor: cmd, hold: w, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	if err := p.await(ctx); err != nil {
		p.Stop()
		// By what is open: a Fast one's directory is gone by now.
		log, _ := io.ReadAll(io.NewSectionReader(logs, before, 1<<20))
		return nil, fmt.Errorf("start Postgres: %w: %s", err, reason(log))
	}
	return p, nil
}

// URL is the connection string for a database of the server.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://fanmail@127.0.0.1:%d/%s?sslmode=disable", p.Port, database)
}

// Exited is closed when the server has gone, of itself or not.
func (p *Postgres) Exited() <-chan struct{} { return p.exited }

// Stop shuts the server down and waits until it has gone.
func (p *Postgres) Stop() {
	_ = p.hold.Close()
	<-p.exited
}

func (p *Postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("it did not answer within 60 s"))
	defer cancel()
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	go func() { // also while somebody else answers at its port, or nobody does
		select {
		case <-p.exited:
			gone(errors.New("it ended at once"))
		case <-ctx.Done():
		}
	}()
	err := backoff.Retry(func() error {
		c, err := pgx.Connect(ctx, p.URL("postgres"))
		if err != nil {
			return err
		}
		return c.Close(ctx)
	}, backoff.WithContext(backoff.NewConstantBackOff(25*time.Millisecond), ctx))
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// findPostgres gives the directory of the newest usable set of binaries.
func findPostgres(ctx context.Context) (string, error) {
	var dirs []string
	if d := os.Getenv("FANMAIL_POSTGRES_BIN"); d != "" {
		dirs = append(dirs, d)
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin",
		"/usr/pgsql-*/bin", "/usr/local/pgsql/bin",
	} {
		found, _ := filepath.Glob(pattern)
		slices.Reverse(found)
		dirs = append(dirs, found...)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, d := range dirs {
		out, err := exec.CommandContext(ctx, filepath.Join(d, "postgres"), "--version").Output() //nolint:gosec // fixed places
		if err != nil {
			continue
		}
		fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian …)
		if len(fields) < 3 {
			continue
		}
		major, _, _ := strings.Cut(fields[2], ".")
		if n, err := strconv.Atoi(major); err == nil && n >= MinPostgres {
			if _, err := os.Stat(filepath.Join(d, "initdb")); err == nil {
				return d, nil
			}
		}
	}
	return "", ErrNoPostgres
}

// unprivileged is the user to run Postgres as: nil for the caller, unless the
// caller is root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("Postgres refuses to run as root, and this machine has neither the user postgres nor nobody")
}

// dataDir makes DIR/postgres and hands it to the user that Postgres runs as.
// Where that user may not walk through one of DIR's parents (/root, say), the
// data lies under /var/lib/fanmail and DIR/postgres is a link to it.
func dataDir(dir string, cred *syscall.Credential, log *zap.Logger) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // another user must walk through it
		return "", fmt.Errorf("data directory: %w", err)
	}
	data := filepath.Join(dir, "postgres")
	if cred == nil {
		return data, os.MkdirAll(data, 0o700)
	}
	if !walkable(dir) {
		real := filepath.Join("/var/lib/fanmail", strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-"))
		if err := os.MkdirAll(real, 0o755); err != nil { //nolint:gosec // as above
			return "", fmt.Errorf("data directory: %w", err)
		}
		if target, err := os.Readlink(data); err != nil || target != real {
			if err := os.Symlink(real, data); err != nil {
				return "", fmt.Errorf("data directory: %w", err)
			}
		}
		log.Info("Postgres's user can't reach the data directory; its data is linked from there",
			zap.String("dir", data), zap.String("data", real))
		data = real
	} else if err := os.MkdirAll(data, 0o700); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.Chmod(data, 0o700); err != nil { //nolint:gosec // a directory
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.Chown(data, int(cred.Uid), int(cred.Gid)); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return data, nil
}

// walkable says whether everybody may walk through dir and its parents.
func walkable(dir string) bool {
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil || st.Mode().Perm()&0o001 == 0 {
			return false
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}

// reason is what Postgres's log gives for its end: the warnings and the fatal
// error of the last start, or its last line where it has none.
func reason(log []byte) string {
	var why []string
	for _, line := range strings.Split(strings.TrimSpace(string(log)), "\n") {
		_, text, _ := strings.Cut(line, "] ")
		switch level, _, _ := strings.Cut(text, ":"); level {
		case "WARNING", "ERROR", "FATAL", "PANIC":
			why = append(why, strings.TrimSpace(text))
		}
	}
	if len(why) == 0 {
		return lastLine(log)
	}
	return strings.Join(why[max(0, len(why)-3):], "; ")
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
