package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

// PostgresOptions configure the private Postgres.
type PostgresOptions struct {
	// Dir holds the data in its folder "postgres". It is created if missing.
	Dir string
	// Port on 127.0.0.1; 0 picks a free one.
	Port int
	// Fast is for tests: it turns durability off, so that a crash of the machine (not of the process) may lose data, and
	// it removes Dir at the end.
	Fast bool
	// Settings are added to the server's command line, and override ours.
	Settings map[string]string
	// Env is added to the server's environment.
	Env []string
	Log *zap.Logger
}

// Postgres is a running private Postgres.
type Postgres struct {
	// Port it listens on, on 127.0.0.1.
	Port int
	// DataDir holds its data.
	DataDir string

	supervisor *supervisor
}

// StartPostgres starts a private Postgres and waits until it answers. The first start creates the database cluster. The
// error is [ErrNoPostgres] if the machine has no binaries; else it holds Postgres's own reason.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	c, err := findCluster(ctx, o.Dir, o.Log)
	if err != nil {
		return nil, err
	}
	if err := c.create(ctx, !o.Fast, o.Log); err != nil {
		return nil, err
	}
	if o.Port == 0 { // after initdb: somebody might take the port meanwhile
		if o.Port, err = freeport.Find(); err != nil {
			return nil, err
		}
	}
	remove := ""
	if o.Fast {
		remove = o.Dir
		if c.user != nil { // else the supervisor could not remove it
			if err := os.Chown(o.Dir, int(c.user.Uid), int(c.user.Gid)); err != nil {
				return nil, fmt.Errorf("data directory: %w", err)
			}
		}
	}
	logs, err := os.OpenFile(filepath.Join(o.Dir, "postgres.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open Postgres's log: %w", err)
	}
	defer func() { _ = logs.Close() }()
	before, err := logs.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("open Postgres's log: %w", err)
	}
	s, err := supervise(o.command(c), c.user, o.Env, logs, remove)
	if err != nil {
		return nil, err
	}
	p := &Postgres{Port: o.Port, DataDir: c.dir, supervisor: s}
	if err := p.await(ctx); err != nil {
		p.Stop()
		// Read by descriptor: Stop has removed the directory of a Fast server.
		log, _ := io.ReadAll(io.NewSectionReader(logs, before, 1<<20))
		return nil, fmt.Errorf("start Postgres: %w: %s", err, reason(log))
	}
	return p, nil
}

// command is the server's command line.
func (o PostgresOptions) command(c cluster) []string {
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(o.Port), "unix_socket_directories": "",
		"max_connections": "200", "shared_buffers": "256MB", "max_wal_size": "4GB", "jit": "off",
		"max_locks_per_transaction": "256", "wal_compression": "on", "log_min_messages": "warning",
	}
	if o.Fast {
		maps.Copy(settings, map[string]string{
			"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
			"shared_buffers": "128MB", "max_connections": "400", "max_wal_size": "512MB", "wal_compression": "off",
		})
	}
	maps.Copy(settings, o.Settings)
	args := []string{filepath.Join(c.bin, "postgres"), "-D", c.dir}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", k+"="+settings[k])
	}
	return args
}

// URL is the connection string for a database of the server.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://fanmail@127.0.0.1:%d/%s?sslmode=disable", p.Port, database)
}

// Exited is closed when the server has exited, whether [Postgres.Stop] was called or not.
func (p *Postgres) Exited() <-chan struct{} { return p.supervisor.exited }

// Stop shuts the server down and waits until it has exited.
func (p *Postgres) Stop() { p.supervisor.stop() }

func (p *Postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("it did not answer within 60 s"))
	defer cancel()
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	go func() { // do not wait for a connection to a server that has exited
		select {
		case <-p.supervisor.exited:
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
