// Package pgtest gives each test a migrated Postgres database of its own, on a real server.
//
// The server is the one in FANMAIL_TEST_DATABASE_URL, whose user must be allowed to create databases,
// or a private one that stops with the test process.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/devserver"
)

type cluster struct {
	url      func(database string) string
	template string
	mu       sync.Mutex // CREATE DATABASE … TEMPLATE needs exclusive use of the template
}

var shared = sync.OnceValues(start)

func start() (*cluster, error) {
	ctx := context.Background()
	c := &cluster{}
	if given := os.Getenv("FANMAIL_TEST_DATABASE_URL"); given != "" {
		u, err := url.Parse(given)
		if err != nil {
			return nil, fmt.Errorf("FANMAIL_TEST_DATABASE_URL: %w", err)
		}
		c.url = func(db string) string {
			v := *u
			v.Path = "/" + db
			return v.String()
		}
	} else {
		dir, err := os.MkdirTemp("", "fanmail-test-pg-")
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
		c.url = pg.URL
	}
	c.template = "fanmail_template_" + suffix()
	if err := c.exec(ctx, "CREATE DATABASE "+c.template); err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, c.url(c.template))
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	return c, migrations.Up(ctx, pool)
}

func (c *cluster) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, c.url("postgres"))
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

// URL creates a migrated database and returns its connection string. The database is dropped when the
// test ends.
func URL(t testing.TB) string {
	return database(t, func(c *cluster) string { return " TEMPLATE " + c.template })
}

// EmptyURL creates a database without a schema.
func EmptyURL(t testing.TB) string {
	return database(t, func(*cluster) string { return "" })
}

func database(t testing.TB, from func(*cluster) string) string {
	t.Helper()
	c, err := shared()
	require.NoError(t, err, "start the test's Postgres")
	name := "fanmail_test_" + suffix()
	ctx := context.Background()
	c.mu.Lock()
	err = c.exec(ctx, "CREATE DATABASE "+name+from(c))
	c.mu.Unlock()
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil && !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("drop %s: %v", name, err)
		}
	})
	return c.url(name)
}

// Pool creates a migrated database and opens a pool on it.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t, URL(t))
}

// Open opens a pool that is closed when the test ends.
func Open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
