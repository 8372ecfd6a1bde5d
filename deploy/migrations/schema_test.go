package migrations_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// check reads the schema and judges it.
func check(t *testing.T, pool *pgxpool.Pool) (migrations.Schema, error) {
	t.Helper()
	schema, err := migrations.Read(t.Context(), pool)
	require.NoError(t, err)
	return schema, schema.Check()
}

func TestAnOlderSchemaIsRefused(t *testing.T) {
	t.Parallel()
	want, err := migrations.Version()
	require.NoError(t, err)
	pool := pgtest.Open(t, pgtest.EmptyURL(t))
	_, err = check(t, pool)
	require.Equal(t, &migrations.SchemaError{Schema: migrations.Schema{Have: 0, Want: want}}, err)
	require.ErrorContains(t, err, "fanmail migrate")

	require.NoError(t, migrations.Up(t.Context(), pool))
	_, err = pool.Exec(t.Context(), `DELETE FROM fanmail.goose_db_version WHERE version_id = $1`, want)
	require.NoError(t, err)
	schema, err := check(t, pool)
	require.Less(t, schema.Have, want)
	require.Error(t, err)
}

// TestANewerSchemaIsAcceptedUnlessItShutsTheBinaryOut stands for a process of the
// release before that starts again amid an upgrade, or after it was taken back.
func TestANewerSchemaIsAcceptedUnlessItShutsTheBinaryOut(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	want, err := migrations.Version()
	require.NoError(t, err)
	pool := pgtest.Pool(t)
	exec := func(sql string, args ...any) {
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	schema, err := check(t, pool)
	require.NoError(t, err)
	require.Equal(t, migrations.Schema{Have: want, Want: want}, schema)
	require.False(t, schema.Newer())

	exec(`INSERT INTO fanmail.goose_db_version (version_id, is_applied) VALUES ($1, true)`, want+7)
	exec(`COMMENT ON TABLE fanmail.goose_db_version IS 'somebody else''s words'`)
	schema, err = check(t, pool)
	require.NoError(t, err)
	require.Equal(t, migrations.Schema{Have: want + 7, Want: want}, schema)
	require.True(t, schema.Newer())
	require.NoError(t, migrations.Up(ctx, pool))
	again, err := check(t, pool)
	require.NoError(t, err)
	require.Equal(t, schema, again, "Up leaves a newer schema as it is")

	exec(fmt.Sprintf(`COMMENT ON TABLE fanmail.goose_db_version IS 'oldest version that may run: %d'`, want))
	schema, err = check(t, pool)
	require.NoError(t, err, "the release before may go on")
	require.Equal(t, want, schema.Oldest)

	exec(fmt.Sprintf(`COMMENT ON TABLE fanmail.goose_db_version IS 'oldest version that may run: %d'`, want+5))
	_, err = check(t, pool)
	require.Equal(t, &migrations.SchemaError{Schema: migrations.Schema{Have: want + 7, Want: want, Oldest: want + 5}}, err)
	require.ErrorContains(t, err, fmt.Sprintf("version %d, on which only binaries of version %d or later may run, and this one is of version %d:", want+7, want+5, want))
	var refused *migrations.SchemaError
	require.ErrorAs(t, migrations.Up(ctx, pool), &refused, "Up must not touch it")
}

// TestNoMarkIsMisspelt: a comment that Read can't make out shuts nobody out.
func TestNoMarkIsMisspelt(t *testing.T) {
	t.Parallel()
	right := regexp.MustCompile(`COMMENT ON TABLE fanmail.goose_db_version IS 'oldest version that may run: \d+'`)
	files, err := filepath.Glob("*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		marks := regexp.MustCompile(`(?i)comment\s+on\s+table\s+\S*goose`).FindAll(text, -1)
		require.Len(t, right.FindAll(text, -1), len(marks), f)
	}
}
