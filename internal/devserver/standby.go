package devserver

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"go.uber.org/zap"
)

// Follow copies the server into o.Dir, which must not hold one yet, and starts
// the copy as its streaming standby; name is what the primary knows it by.
// Promoting it is a matter of SQL: pg_promote.
func (p *Postgres) Follow(ctx context.Context, o PostgresOptions, name string) (*Postgres, error) {
	bin, err := findPostgres(ctx)
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	dir, err := dataDir(o.Dir, cred, o.Log)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pg_basebackup"), //nolint:gosec // the binary was found by us
		"-h", "127.0.0.1", "-p", strconv.Itoa(p.Port), "-U", "fanmail", "-D", dir, "-X", "stream", "-c", "fast", "-R", "--no-sync")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy Postgres: %w: %s", err, lastLine(out))
	}
	o.Settings = maps.Clone(o.Settings)
	if o.Settings == nil {
		o.Settings = map[string]string{}
	}
	o.Settings["primary_conninfo"] = fmt.Sprintf("host=127.0.0.1 port=%d user=fanmail application_name=%s", p.Port, name)
	return StartPostgres(ctx, o)
}
