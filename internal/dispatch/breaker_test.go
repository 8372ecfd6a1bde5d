package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestABreakerProbesWithOneAndParksTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 100)
		e := hook(1, 1, 32)
		for range 50 {
			b.offer(e, 0)
		}
		parked, failed := 0, 0
		for !b.lanes[e.ID].open {
			for _, d := range b.begin() {
				failed++
				parked += len(b.end(d, refused))
			}
		}
		require.Equal(t, 50-failed, parked, "what was queued goes back, its attempts unburnt")
		require.Equal(t, 1, b.breakers)
		v, _ := b.offer(e, 0)
		require.Equal(t, queued, v, "one to probe with")
		v, _ = b.offer(e, 0)
		require.Equal(t, full, v)
		// Probes come after 1, 2, 4 … seconds, up to a minute.
		for want := 2 * probeFirst; ; want = min(2*want, probeMax) {
			require.Empty(t, b.begin())
			b.pass(b.lanes[e.ID].probe)
			b.tick(time.Now())
			probe := b.begin()
			require.Len(t, probe, 1)
			b.end(probe[0], refused)
			require.Equal(t, want, b.lanes[e.ID].probe)
			b.offer(e, 0)
			if want == probeMax {
				break
			}
		}
		b.pass(probeMax)
		b.tick(time.Now())
		probe := b.begin()
		require.Len(t, probe, 1)
		b.end(probe[0], fine)
		require.False(t, b.lanes[e.ID].open)
		require.Zero(t, b.breakers)
		v, _ = b.offer(e, 0)
		require.Equal(t, queued, v)
		require.Len(t, b.begin(), 1, "no rest after a success")
	})
}

func TestProbesOfLanesThatWentTogetherAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1000, 1000)
		const lanes = 64
		for i := range lanes {
			e := hook(byte(i), 1, 32)
			e.ID[len(e.ID)-1] = byte(i * 256 / lanes)
			for range breakerFailures {
				b.offer(e, 0)
			}
		}
		for b.breakers < lanes {
			for _, d := range b.begin() {
				b.end(d, refused)
			}
		}
		for _, l := range b.lanes {
			b.offer(l.entry, 0)
		}
		probes := 0
		for _, step := range []struct {
			pass        time.Duration
			least, most int
		}{
			{probeFirst*3/4 - time.Millisecond, 0, 0}, {probeFirst / 8, lanes/2 - 2, lanes/2 + 2}, {probeFirst/8 + time.Millisecond, lanes, lanes},
		} {
			b.pass(step.pass)
			b.tick(time.Now())
			probes += len(b.beginAll())
			require.GreaterOrEqual(t, probes, step.least)
			require.LessOrEqual(t, probes, step.most)
		}
	})
}
