package pg_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestWithoutAPoolerNothingIsAdapted(t *testing.T) {
	t.Parallel()
	cfg, err := pg.Parse(secret.Text(pgtest.URL(t)))
	require.NoError(t, err)
	pg.Configure(cfg)
	before := maps.Clone(cfg.ConnConfig.RuntimeParams)
	require.NoError(t, pg.Adapt(t.Context(), cfg))
	require.Equal(t, before, cfg.ConnConfig.RuntimeParams)
	require.Equal(t, pgx.QueryExecModeCacheStatement, cfg.ConnConfig.DefaultQueryExecMode)
}

func TestTheRemedyForAPoolerSetsWhatIsMissing(t *testing.T) {
	t.Parallel()
	err := &pg.PoolerError{Role: `odd"role`, Database: "mail", Missing: []string{"enable_seqscan", "lock_timeout"}}
	require.ErrorContains(t, err, `ALTER ROLE "odd""role" IN DATABASE "mail" SET enable_seqscan = 'off'; ALTER ROLE "odd""role" IN DATABASE "mail" SET lock_timeout = '20s';`)
}

// TestTheRolesHaveTheEnginesSettings: a process whose role comes from roles.sql works through a pooler at once.
func TestTheRolesHaveTheEnginesSettings(t *testing.T) {
	t.Parallel()
	roles, err := os.ReadFile("../../deploy/postgres/roles.sql")
	require.NoError(t, err)
	for _, name := range slices.Sorted(maps.Keys(pg.Engine)) {
		if name == "application_name" || name == "client_min_messages" {
			continue
		}
		require.Contains(t, string(roles), "'"+name+" = "+pg.Engine[name]+"'")
	}
}
