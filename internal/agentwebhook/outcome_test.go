package agentwebhook

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheScheduleHasJitterAndHeedsALongerWait(t *testing.T) {
	t.Parallel()
	for i, d := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour} {
		least, most := d, d
		for range 200 {
			got := retryDelay(i+1, 0)
			require.InEpsilon(t, d, got, 0.1000001)
			least, most = min(least, got), max(most, got)
		}
		// Of 200 times none in the outer quarter of a side: once in 10^25 runs.
		require.Less(t, least, d*95/100, "up to a tenth less")
		require.Greater(t, most, d*105/100, "up to a tenth more")
	}
	require.Equal(t, 2*time.Hour, retryDelay(1, 2*time.Hour))
	require.GreaterOrEqual(t, retryDelay(7, time.Second), 14*time.Hour)
}
