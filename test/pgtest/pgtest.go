// Package pgtest gives each test a Postgres database of its own, migrated, on
// a real server.
//
// The server is the one that FANMAIL_TEST_DATABASE_URL names (its user must be
// allowed to create databases), or a private one that lives as long as the
// test process.
package pgtest

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/testdb"
)

var server = sync.OnceValues(func() (*testdb.Server, error) {
	if given := os.Getenv("FANMAIL_TEST_DATABASE_URL"); given != "" {
		return testdb.At(context.Background(), given)
	}
	return testdb.Private()
})

// URL makes a migrated database and returns its connection string, to which it adds the parameters, each "name=value".
// The database is dropped when the test ends.
func URL(t testing.TB, parameters ...string) string {
	t.Helper()
	url := database(t, (*testdb.Server).Database)
	for _, p := range parameters {
		separator := "?"
		if strings.Contains(url, "?") { // a server that was given may have no parameters
			separator = "&"
		}
		url += separator + p
	}
	return url
}

// EmptyURL makes a database without a schema.
func EmptyURL(t testing.TB) string { return database(t, (*testdb.Server).Empty) }

func database(t testing.TB, create func(*testdb.Server, context.Context) (string, func() error, error)) string {
	t.Helper()
	s, err := server()
	require.NoError(t, err, "start the test's Postgres")
	url, drop, err := create(s, context.Background())
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	})
	return url
}

// Pool makes a migrated database and opens a pool on it.
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
