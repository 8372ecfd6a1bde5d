package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOnlyProducersWithoutHintsHaveTheOutboxPolledOften: rows that are found just
// before their hint arrives do not count.
func TestOnlyProducersWithoutHintsHaveTheOutboxPolledOften(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p poller
	for range 10 {
		require.Equal(t, busyPoll, p.next(1, false, now), "rows without a hint")
		require.Equal(t, idlePoll, p.next(0, true, now), "the timer was faster than the hint")
		require.Equal(t, idlePoll, p.next(0, false, now))
	}
	require.Equal(t, busyPoll, p.next(1, false, now), "no hint follows")
	require.Equal(t, busyPoll, p.next(0, false, now.Add(999*time.Millisecond)))
	require.Equal(t, idlePoll, p.next(0, false, now.Add(time.Second)), "and then nothing for a second")
	require.Equal(t, time.Duration(0), p.next(batchEvents, false, now), "there is more")
}
