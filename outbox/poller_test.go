package outbox

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOnlyProducersWithoutHintsHaveTheOutboxPolledOften: rows that are found a
// moment before their hint comes are no sign of such a producer.
func TestOnlyProducersWithoutHintsHaveTheOutboxPolledOften(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p poller
	for range 10 {
		require.Equal(t, idlePoll, p.next(1, false, now), "the timer was faster than the hint")
		require.Equal(t, idlePoll, p.next(0, true, now), "which comes")
		require.Equal(t, idlePoll, p.next(0, false, now))
	}
	require.Equal(t, idlePoll, p.next(1, false, now))
	require.Equal(t, idlePoll, p.next(0, false, now))
	require.Equal(t, busyPoll, p.next(1, false, now), "twice without one")
	require.Equal(t, busyPoll, p.next(0, false, now.Add(999*time.Millisecond)))
	require.Equal(t, idlePoll, p.next(0, false, now.Add(time.Second)), "and then nothing for a second")
	require.Equal(t, time.Duration(0), p.next(batchEvents, false, now), "there is more")
}
