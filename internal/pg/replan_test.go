package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestPlansFromAnEmptyTableAreNotKept fills a table after its plan was made. For the empty
// table, a plan that reads the whole table costs no more than a lookup.
func TestPlansFromAnEmptyTableAreNotKept(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := pgplan.Open(t, pgtest.URL(t))
	exec := func(sql string) {
		_, err := r.Pool.Exec(ctx, sql)
		require.NoError(t, err)
	}
	exec(`CREATE TABLE box (a bigint, b bigint, PRIMARY KEY (a, b)) WITH (autovacuum_enabled = false)`)
	exec(`ANALYZE box`)
	const look = `WITH due AS MATERIALIZED (SELECT a, b FROM box WHERE a > $1 LIMIT 5)
		UPDATE box AS o SET b = o.b FROM due WHERE o.a = due.a AND o.b = due.b`
	read := func() int {
		r.Reset()
		_, err := r.Pool.Exec(ctx, look, 500)
		require.NoError(t, err)
		return r.Of(t, "UPDATE box").Rows()
	}
	read()
	exec(`INSERT INTO box SELECT i, i FROM generate_series(1, 20000) AS i`)
	require.Greater(t, read(), 10_000, "the first plan must be a bad one, or the test shows nothing")
	require.Eventually(t, func() bool { return read() < 100 }, time.Minute, 100*time.Millisecond)
}
