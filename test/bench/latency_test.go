package main

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServersServeSoManyAtATime(t *testing.T) {
	t.Parallel()
	s, now := newServers(Answer{Latency: 100 * time.Millisecond, Serves: 2}), time.Now()
	for i, want := range []time.Duration{100, 100, 200, 200, 300} {
		require.Equal(t, want*time.Millisecond, s.take(now), "request %d", i)
	}
	require.Zero(t, s.atOnce(), "the sender is not settled yet")
	now = now.Add(200 * time.Millisecond)
	require.Equal(t, 100*time.Millisecond, s.take(now), "one server is free")
	require.Equal(t, 200*time.Millisecond, s.take(now), "the other one in 100 ms")
	now = now.Add(2 * settling)
	require.Equal(t, 100*time.Millisecond, s.take(now))
	s.take(now)
	s.take(now)
	require.Equal(t, 3, s.atOnce())
}

func TestSpreadLatencyHasItsMedianAndItsTail(t *testing.T) {
	t.Parallel()
	s, now := newServers(spreading), time.Now()
	var times []time.Duration
	for range 20_000 {
		times = append(times, s.take(now))
		now = now.Add(time.Second)
	}
	slices.Sort(times)
	require.InDelta(t, 120, millis(percentile(times, 50)), 6)
	require.InDelta(t, 900, millis(percentile(times, 99)), 120)
}

func TestEndpointsThatTakeTimeAreHealthy(t *testing.T) {
	t.Parallel()
	ws := latencies(func(_, short int) int { return short })
	require.Len(t, ws, 7)
	for i := range ws {
		require.False(t, ws[i].Noisy(), ws[i].Name)
	}
}
