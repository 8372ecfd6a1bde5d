package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestABreakerProbesWithOneAndReleasesTheRest(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 100)
	w := hook(1, 1, 32)
	for range 50 {
		b.offer(w, 0)
	}
	failed := 0
	for !b.lanes[w.ID].breaker.open() {
		for _, d := range b.begin() {
			failed++
			b.end(d, refused)
		}
	}
	require.Len(t, b.took(Release), 50-failed, "what was queued goes back, its attempts unburnt")
	require.Equal(t, 1, b.Stats(b.now).OpenBreakers)
	a, _ := b.offer(w, 0)
	require.Equal(t, Queued, a, "one to probe with")
	a, _ = b.offer(w, 0)
	require.Equal(t, Full, a)
	// Probes come after 1, 2, 4 … seconds, up to a minute.
	for want := 2 * probeFirst; ; want = min(2*want, probeMax) {
		require.Empty(t, b.begin())
		b.pass(b.lanes[w.ID].breaker.rest)
		probe := b.begin()
		require.Len(t, probe, 1)
		b.end(probe[0], refused)
		require.Equal(t, want, b.lanes[w.ID].breaker.rest)
		b.offer(w, 0)
		if want == probeMax {
			break
		}
	}
	b.pass(probeMax)
	probe := b.begin()
	require.Len(t, probe, 1)
	b.end(probe[0], fine)
	require.False(t, b.lanes[w.ID].breaker.open())
	require.Zero(t, b.Stats(b.now).OpenBreakers)
	a, _ = b.offer(w, 0)
	require.Equal(t, Queued, a)
	require.Len(t, b.begin(), 1, "no rest after a success")
}

// Four time-outs open the breaker; a probe that fails otherwise has fewer than
// ten failures before it.
func TestEachFailedProbeDoublesTheRest(t *testing.T) {
	t.Parallel()
	var k breaker
	for range breakerTimeouts - 1 {
		require.Zero(t, k.failed(true))
	}
	require.Equal(t, probeFirst, k.failed(true))
	require.Zero(t, k.failed(false), "it was in flight when the breaker opened")
	k.started()
	require.Equal(t, 2*probeFirst, k.failed(false))
	k.started()
	k.stopped()
	require.True(t, k.open(), "a probe that was cut short proves nothing")
	k.started()
	require.Equal(t, 4*probeFirst, k.failed(false))
}

func TestProbesOfLanesThatWentTogetherAreSpread(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1000, 1000)
	const lanes = 64
	for i := range lanes {
		w := hook(byte(i), 1, 32)
		w.ID[len(w.ID)-1] = byte(i * 256 / lanes)
		for range breakerFailures {
			b.offer(w, 0)
		}
	}
	for b.Stats(b.now).OpenBreakers < lanes {
		for _, d := range b.begin() {
			b.end(d, refused)
		}
	}
	for _, l := range b.lanes {
		b.offer(&l.webhook, 0)
	}
	probes := 0
	for _, step := range []struct {
		pass        time.Duration
		least, most int
	}{
		{probeFirst*3/4 - time.Millisecond, 0, 0}, {probeFirst / 8, lanes/2 - 2, lanes/2 + 2}, {probeFirst/8 + time.Millisecond, lanes, lanes},
	} {
		b.pass(step.pass)
		probes += len(b.beginAll())
		require.GreaterOrEqual(t, probes, step.least)
		require.LessOrEqual(t, probes, step.most)
	}
}
