package devserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"go.uber.org/zap"
)

// MinPostgres is the oldest major version that Fanmail runs on.
const MinPostgres = 15

// ErrNoPostgres means that this machine has no Postgres binaries.
var ErrNoPostgres = fmt.Errorf("no Postgres %d or later was found on this machine: run `make setup`, or give --database-url", MinPostgres)

// cluster is a data directory, the binaries that serve it, and their user.
type cluster struct {
	bin  string
	dir  string
	user *syscall.Credential // nil: the caller's
}

// findCluster finds the binaries and makes the data directory below dir.
func findCluster(ctx context.Context, dir string, log *zap.Logger) (cluster, error) {
	var c cluster
	var err error
	if c.bin, err = findPostgres(ctx); err != nil {
		return c, err
	}
	if c.user, err = unprivileged(); err != nil {
		return c, err
	}
	c.dir, err = dataDir(dir, c.user, log)
	return c, err
}

// create makes the cluster unless the directory holds one. initdb works in a directory beside it, which is renamed when
// the cluster is whole: an interrupted initdb leaves nothing that looks like a cluster. sync is false for a cluster that
// need not survive.
func (c cluster) create(ctx context.Context, sync bool, log *zap.Logger) error {
	if _, err := os.Stat(filepath.Join(c.dir, "PG_VERSION")); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	const suffix = ".new-"
	left, _ := filepath.Glob(c.dir + suffix + "*")
	for _, dir := range left {
		_ = os.RemoveAll(dir) // of an interrupted start; what stays disturbs nobody
	}
	log.Info("creating the database cluster", zap.String("dir", c.dir))
	dir, err := os.MkdirTemp(filepath.Dir(c.dir), filepath.Base(c.dir)+suffix)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := c.own(dir); err != nil {
		return err
	}
	args := []string{"-D", dir, "-U", "fanmail", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-clean"}
	if !sync {
		args = append(args, "--no-sync")
	}
	if err := c.run(ctx, "initdb", args...); err != nil {
		return err
	}
	err = os.Remove(c.dir) // refused unless it is empty
	if err == nil {
		err = os.Rename(dir, c.dir)
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// own gives a directory to the user that Postgres runs as.
func (c cluster) own(dir string) error {
	if c.user == nil {
		return nil
	}
	if err := os.Chown(dir, int(c.user.Uid), int(c.user.Gid)); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// run executes one of the cluster's programs to its end. The end of ctx kills it and the processes that it started. An
// error has the reasons that the program gave.
func (c cluster) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, program), args...) //nolint:gosec // the binary was found by us
	cmd.Dir = "/"
	cmd.Env = append(cmd.Environ(), "LC_ALL=C") // the reasons are found by their English words
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", program, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, reason(out))
	}
	return nil
}

// findPostgres returns the directory of a usable set of binaries: the one on the PATH, else the newest of the usual
// places.
func findPostgres(ctx context.Context) (string, error) {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil { // the other programs are beside the binary, not the link
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin",
		"/usr/pgsql-*/bin", "/usr/local/pgsql/bin",
	} {
		found, _ := filepath.Glob(pattern)
		slices.Reverse(found)
		dirs = append(dirs, found...)
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

// unprivileged returns the user that Postgres runs as if the caller is root. It is nil for any other caller, who runs
// Postgres himself.
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

// dataDir makes DIR/postgres and gives it to the user that Postgres runs as. If that user may not enter one of DIR's
// parents, such as /root, the data lies under /var/lib/fanmail and DIR/postgres links to it.
func dataDir(dir string, cred *syscall.Credential, log *zap.Logger) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // another user must enter it
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
		log.Info("the user of Postgres cannot enter the data directory; it links to the data",
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

// walkable reports whether every user may enter dir and its parents.
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
