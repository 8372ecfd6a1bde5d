package testdb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/devserver"
)

// Server makes databases on one Postgres server.
type Server struct {
	url      func(database string) string
	template string
	mu       sync.Mutex // CREATE DATABASE ... TEMPLATE needs the template unused
}

// Private returns the process's own server, which the first call starts.
var Private = sync.OnceValues(func() (*Server, error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp(inMemory(), "fanmail-test-pg-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Postgres's user walks through it
		return nil, err
	}
	pg, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir, Fast: true})
	if err != nil {
		return nil, err
	}
	return open(ctx, pg.URL)
})

// roomInMemory is what a file system in memory must have left for the server to lie there: some servers of test processes
// that run at once have half a gigabyte of log each.
const roomInMemory = 4 << 30

// inMemory returns a directory in memory, where a database is made in a fifth of the time, or "" for that of temporary
// files if the machine has none or little room.
func inMemory() string {
	const shared = "/dev/shm"
	var fs syscall.Statfs_t
	if syscall.Statfs(shared, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < roomInMemory { //nolint:gosec // the size of a block
		return ""
	}
	return shared
}

// At uses the server of a connection string, whose user must be allowed to create
// databases.
func At(ctx context.Context, given string) (*Server, error) {
	u, err := url.Parse(given)
	if err != nil {
		return nil, fmt.Errorf("the test database's URL does not parse")
	}
	return open(ctx, func(database string) string {
		v := *u
		v.Path = "/" + database
		return v.String()
	})
}

// open makes the template that databases are copied from.
func open(ctx context.Context, at func(database string) string) (*Server, error) {
	s := &Server{url: at, template: "fanmail_template_" + suffix()}
	if err := s.exec(ctx, "CREATE DATABASE "+s.template); err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, s.url(s.template))
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	return s, migrations.Up(ctx, pool)
}

func (s *Server) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

func suffix() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Database makes a migrated database. It returns its connection string and a
// function that drops it.
func (s *Server) Database(ctx context.Context) (url string, drop func() error, err error) {
	// The other strategy writes each page to the write-ahead log, which takes as long again.
	return s.create(ctx, " TEMPLATE "+s.template+" STRATEGY FILE_COPY")
}

// Empty makes a database without a schema.
func (s *Server) Empty(ctx context.Context) (url string, drop func() error, err error) {
	return s.create(ctx, "")
}

func (s *Server) create(ctx context.Context, from string) (url string, drop func() error, err error) {
	name := "fanmail_test_" + suffix()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.exec(ctx, "CREATE DATABASE "+name+from); err != nil {
		return "", nil, fmt.Errorf("create a database: %w", err)
	}
	return s.url(name), func() error {
		err := s.exec(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)")
		if err != nil && !strings.Contains(err.Error(), "does not exist") {
			return fmt.Errorf("drop %s: %w", name, err)
		}
		return nil
	}, nil
}
