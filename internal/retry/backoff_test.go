package retry

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheScheduleFromTheStoredAttempt(t *testing.T) {
	t.Parallel()
	for i, d := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour} {
		least, most := d, d
		for range 200 {
			got := (*Policy)(nil).Delay(i+1, 8, 0)
			require.InEpsilon(t, d, got, 0.1000001)
			least, most = min(least, got), max(most, got)
		}
		// All 200 miss the outer quarter of a side once in 10^25 runs.
		require.Less(t, least, d*95/100, "up to a tenth less")
		require.Greater(t, most, d*105/100, "up to a tenth more")
	}
	require.InEpsilon(t, time.Minute, (*Policy)(nil).Delay(9, 16, 0), 0.11, "a manual retry after eight attempts starts the schedule anew")
}

func TestRetryAfterOnlyLengthensTheWait(t *testing.T) {
	t.Parallel()
	require.Equal(t, 2*time.Hour, (*Policy)(nil).Delay(1, 8, 2*time.Hour))
	require.GreaterOrEqual(t, (*Policy)(nil).Delay(7, 8, time.Second), 14*time.Hour)
	require.Equal(t, 24*time.Hour, (*Policy)(nil).Delay(1, 8, 1000*time.Hour), "up to a day")
}
