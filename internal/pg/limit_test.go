package pg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

func TestAPoolIsNoLargerThanALimitAllows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, want int32
		agents      bool
		share       int32
	}{
		{0, 16, true, 16},
		{100, 16, true, 16},
		{20, 16, true, 15},
		{21, 16, true, 16},
		{4, 16, true, 2},
		{5, 16, false, 4},
		{4, 16, false, 3},
		{1, 16, true, 2},
		{10, 16, true, 7},
		{100, 1, false, 1},
	} {
		l := pg.Limit{Connections: c.limit}
		got := l.Share(c.want, c.agents)
		require.Equal(t, c.share, got, "%+v", c)
		if c.limit >= 4 && c.agents {
			require.Less(t, got+pg.AgentConns(got), c.limit)
		}
	}
}
