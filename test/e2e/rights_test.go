package e2e_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/deploy/postgres"
	"github.com/fanmail-dev/fanmail/internal/devserver"
)

var update = flag.Bool("update", false, "write docs/reference/rights.md from what the roles may do")

// rightsOf lists what the roles may do with each table, sequence and function of the schema, as Postgres sees it.
const rightsOf = `
WITH roles (name) AS (VALUES ('publisher'), ('dispatcher'), ('ingest'), ('api')),
things AS (
	SELECT c.oid, c.relname::text AS name, c.relkind::text AS kind FROM pg_class AS c
	WHERE c.relnamespace = 'fanmail'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT c.relispartition
	UNION ALL
	SELECT p.oid, p.proname || '()', 'f' FROM pg_proc AS p WHERE p.pronamespace = 'fanmail'::regnamespace AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
),
words (kind, word, privilege, by_column) AS (VALUES
	('r', 'read', 'SELECT', true), ('r', 'insert', 'INSERT', true), ('r', 'update', 'UPDATE', true), ('r', 'delete', 'DELETE', false),
	('r', 'truncate', 'TRUNCATE', false), ('r', 'trigger', 'TRIGGER', false), ('r', 'reference', 'REFERENCES', true),
	('S', 'read', 'SELECT', false), ('S', 'use', 'USAGE', false), ('S', 'set', 'UPDATE', false), ('f', 'call', 'EXECUTE', false)
),
held AS (
	SELECT t.name, r.name AS role, w.word, array_position(ARRAY['read','insert','update','delete','truncate','trigger','reference','use','set','call'], w.word) AS n,
		CASE WHEN w.kind = 'f' THEN has_function_privilege('fanmail_' || r.name, t.oid, w.privilege)
			WHEN w.kind = 'S' THEN has_sequence_privilege('fanmail_' || r.name, t.oid, w.privilege)
			ELSE has_table_privilege('fanmail_' || r.name, t.oid, w.privilege) END AS whole,
		(SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute AS a
			WHERE w.by_column AND t.kind <> 'S' AND t.kind <> 'f' AND a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
				AND has_column_privilege('fanmail_' || r.name, t.oid, a.attnum, w.privilege)) AS columns
	FROM things AS t CROSS JOIN roles AS r JOIN words AS w ON w.kind = CASE WHEN t.kind IN ('S', 'f') THEN t.kind ELSE 'r' END
)
SELECT t.name, r.name AS role, coalesce((SELECT string_agg(h.word || CASE WHEN h.whole THEN '' ELSE ' (' || h.columns || ')' END, ', ' ORDER BY h.n)
	FROM held AS h WHERE h.name = t.name AND h.role = r.name AND (h.whole OR h.columns IS NOT NULL)), '') AS rights
FROM things AS t CROSS JOIN roles AS r ORDER BY t.kind = 'f', t.kind = 'S', t.name, array_position(ARRAY['publisher','dispatcher','ingest','api'], r.name)`

const rightsHead = "| table, sequence or function | publisher | dispatcher | ingest | api |\n|---|---|---|---|---|\n"

// TestRightsAreDocumented gives the roles their rights, asks Postgres which they have, and compares the page.
func TestRightsAreDocumented(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pg, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: openDir(t)})
	require.NoError(t, err)
	t.Cleanup(pg.Stop)
	admin, err := pgx.Connect(ctx, pg.URL("postgres"))
	require.NoError(t, err)
	for _, sql := range []string{postgres.Roles, "CREATE DATABASE " + guardedDatabase + " OWNER fanmail_owner"} {
		_, err = admin.Exec(ctx, sql)
		require.NoError(t, err)
	}
	require.NoError(t, admin.Close(ctx))
	pool, err := pgxpool.New(ctx, strings.Replace(pg.URL(guardedDatabase), "fanmail@", "fanmail_owner@", 1))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, fanmail.Migrate(ctx, pool))
	require.NoError(t, postgres.Grant(ctx, pool))

	rows, err := pool.Query(ctx, rightsOf)
	require.NoError(t, err)
	rights, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Name, Role, Rights string }])
	require.NoError(t, err)
	table := rightsHead
	for i, r := range rights {
		if i%4 == 0 {
			table += "| `" + r.Name + "` |"
		}
		table += strings.TrimRight(" "+r.Rights, " ") + " |"
		if i%4 == 3 {
			table += "\n"
		}
	}
	const path = "../../docs/reference/rights.md"
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	before, after, found := strings.Cut(string(page), rightsHead)
	require.True(t, found, "the page has the table")
	for line := range strings.Lines(after) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		after = strings.TrimPrefix(after, line)
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(before+table+after), 0o600))
		return
	}
	require.Equal(t, string(page), before+table+after, "write the page with: go -C test/e2e test -run TestRightsAreDocumented . -update")
}
