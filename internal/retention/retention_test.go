package retention_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAFailingRuleDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.strict_tenants SELECT gen_random_uuid() FROM generate_series(1, 5)`)
	require.NoError(t, err)
	report, err := retention.Run(ctx, pool, []retention.Rule{
		retention.Rows("broken", `DELETE FROM fanmail.nothing`),
		retention.Rows("in pieces", `DELETE FROM fanmail.strict_tenants WHERE ctid IN (SELECT ctid FROM fanmail.strict_tenants LIMIT $1)`, 2),
		retention.Rows("idle", `DELETE FROM fanmail.strict_tenants`),
	})
	require.ErrorContains(t, err, "broken: ")
	require.NotContains(t, err.Error(), "pieces")
	require.Equal(t, retention.Report{Rows: map[string]int64{"in pieces": 5}}, report)
}

func TestADayThatIsStillNeededStays(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(ctx, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 5, 3)`)
	require.NoError(t, err)
	has := func() (names []string) {
		names, err := pg.Partitions(ctx, pool, "messages")
		require.NoError(t, err)
		return names
	}
	oldest := has()[0]
	keeps := func(_ context.Context, _ pg.DB, partition string) (bool, error) { return partition == oldest, nil }
	report, err := retention.Run(ctx, pool, []retention.Rule{retention.Days("messages", 24*time.Hour, keeps)})
	require.NoError(t, err)
	require.Positive(t, report.Dropped)
	require.Equal(t, oldest, has()[0])

	lost := errors.New("no answer")
	fails := func(context.Context, pg.DB, string) (bool, error) { return false, lost }
	_, err = retention.Run(ctx, pool, []retention.Rule{retention.Days("messages", 24*time.Hour, fails)})
	require.ErrorIs(t, err, lost)
	require.Equal(t, oldest, has()[0])

	_, err = retention.Run(ctx, pool, []retention.Rule{retention.Days("messages", 24*time.Hour, nil)})
	require.NoError(t, err)
	require.NotContains(t, has(), oldest)
}
