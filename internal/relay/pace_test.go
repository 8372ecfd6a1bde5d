package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRoundsAreSpacedByTheRateOfArrival simulates events that come at a constant
// rate, and rounds that take all that have come.
func TestRoundsAreSpacedByTheRateOfArrival(t *testing.T) {
	t.Parallel()
	const took = time.Millisecond
	// spacing returns the time between the last rounds of five seconds, and the
	// longest of all.
	spacing := func(rate float64) (last, longest time.Duration) {
		start := time.Now()
		p := pacer{at: start}
		gap := time.Duration(float64(time.Second) / rate)
		taken := 0
		for now := start; now.Sub(start) < 5*time.Second; {
			n := int(now.Sub(start)/gap) - taken
			if n == 0 {
				now = start.Add(time.Duration(taken+1) * gap) // the next event's hint
				continue
			}
			taken += n
			pause := p.pause(n, now, now.Add(took))
			last = took + pause
			longest = max(longest, last)
			now = now.Add(last)
		}
		return last, longest
	}
	for rate, want := range map[float64]time.Duration{1: pace, 50: pace, 100: pace, 200: pace, 500: 500 * lingerOf, 5000: linger, 50_000: linger} {
		last, longest := spacing(rate)
		require.InDelta(t, want, last, float64(time.Millisecond), "at %v events a second", rate)
		require.LessOrEqual(t, longest, linger, "at %v events a second", rate)
	}
	middle, _ := spacing(350)
	require.Greater(t, middle, pace)
	require.Less(t, middle, linger)
}

// TestALoneEventIsNotHeldUpByTheRateOfBefore: a burst is forgotten within a
// second, and what follows at once waits no longer than linger.
func TestALoneEventIsNotHeldUpByTheRateOfBefore(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := pacer{at: now.Add(-time.Hour)}
	require.Equal(t, pace-time.Millisecond, p.pause(1, now, now.Add(time.Millisecond)))
	now = now.Add(time.Second)
	require.Equal(t, linger-time.Millisecond, p.pause(batchEvents-1, now, now.Add(time.Millisecond)))
	now = now.Add(time.Second)
	require.Equal(t, pace-time.Millisecond, p.pause(1, now, now.Add(time.Millisecond)))
	// A slow database spaces rounds of several events, up to a limit.
	require.Equal(t, maxGather, p.pause(2, now, now.Add(time.Minute)))
	require.Zero(t, p.pause(1, now, now.Add(time.Minute)))
}
