package dispatch

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestAHangingEndpointLeavesSlotsFreeAndGivesItsOwnBackAfterASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 4, 100)
		hanging, healthy := hook(1, 1, 32), hook(2, 2, 32)
		for range 50 {
			b.offer(hanging, 0)
		}
		stuck := b.begin()
		require.Len(t, stuck, 2, "an unknown lane has half of the fast slots")
		b.offer(healthy, 0)
		got := b.begin()
		require.Len(t, got, 1, "another tenant has not to wait")
		require.Same(t, b.fast, got[0].pool)
		b.end(got[0], fine)
		b.pass(slowAttempt)
		b.tick(time.Now())
		require.Equal(t, 98, b.slow.free, "the hanging ones go on in the slow pool")
		require.Equal(t, 4, b.fast.free)
		b.pass(AttemptTimeout - slowAttempt)
		more := b.begin()
		require.Len(t, more, 2, "up to the lane's window")
		for _, d := range more {
			require.Same(t, b.slow, d.pool, "and now on slow slots")
		}
		for _, d := range append(stuck, more...) {
			b.end(d, timeout)
		}
		require.Equal(t, 4, b.fast.free)
		require.Equal(t, 100, b.slow.free)
		require.True(t, b.lanes[hanging.ID].open)
	})
}

// oneOfMany is a webhook of a tenant of thousands.
func oneOfMany(n int) *subscribers.Entry {
	e := hook(1, 1, 32)
	e.ID[1], e.ID[2] = byte(n), byte(n>>8)
	return e
}

func TestATenantOfManyHangingEndpointsDoesNotTryThemAllOnFastSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 64, 4000)
		for i := range 2000 {
			b.offer(oneOfMany(i), 0)
		}
		onFast := 0
		for range 12 {
			for _, d := range b.beginAll() {
				if d.pool == b.fast {
					onFast++
				}
			}
			b.pass(slowAttempt)
			b.tick(time.Now())
		}
		require.Equal(t, 32, onFast, "the first half of the pool; then the tenant's unproven lanes count as slow")
		require.Equal(t, 2000, b.inFlight)
		healthy := hook(2, 2, 32)
		b.offer(healthy, 0)
		got := b.begin()
		require.Len(t, got, 1)
		require.Same(t, b.fast, got[0].pool)
	})
}

func TestReplaysWaitBehindWhatIsNewWithoutStarving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1, 1)
		e := hook(1, 1, 1)
		for range 100 {
			b.next++
			d := &delivery{Leased: subscribers.Leased{WebhookID: e.ID, IsReplay: true, MaxAttempts: 8}}
			d.ID[8], d.ID[9] = byte(b.next), byte(b.next>>8)
			require.Equal(t, queued, b.add(d, e))
		}
		for range 100 {
			b.offer(e, 0)
		}
		replayed := 0
		for range 40 {
			flying := b.begin()
			require.Len(t, flying, 1)
			if flying[0].IsReplay {
				replayed++
			}
			b.end(flying[0], fine)
		}
		require.Equal(t, 40/retryTurn, replayed)
	})
}

func TestFirstAttemptsGoAheadOfRetriesWithoutStarvingThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1, 1)
		e := hook(1, 1, 1)
		for range 40 {
			b.offer(e, 0)
			b.offer(e, 3)
		}
		retries := 0
		for range 40 {
			d := b.begin()[0]
			if d.Attempts > 0 {
				retries++
			}
			b.end(d, fine)
		}
		require.Equal(t, 40/retryTurn, retries)
	})
}

func TestACrowdStartsAFewAtATimeAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 4000, 8000)
		for i := range crowdedSlow {
			b.offer(oneOfMany(i), 0)
		}
		require.Len(t, b.begin(), crowdedSlow, "not yet a crowd")
		b.pass(slowAttempt)
		b.tick(time.Now())

		const crowd = 2000
		for i := range crowd {
			b.offer(oneOfMany(1000+i), 0)
		}
		cores := runtime.GOMAXPROCS(0)
		started := len(b.begin())
		require.Equal(t, rushBurst*cores, started)
		healthy := hook(2, 2, 32)
		b.offer(healthy, 0)
		got := b.begin()
		require.Len(t, got, 1, "of another tenant, and unproven too")
		require.Same(t, healthy, got[0].entry)
		calm := oneOfMany(9000)
		l := b.lane(calm.ID, calm)
		l.proven, l.drained = true, calmLane
		b.offer(calm, 0)
		got = b.begin()
		require.Len(t, got, 1, "of the same tenant, but it drains")
		require.Same(t, calm, got[0].entry)

		for ; started < crowd; started += len(got) {
			b.pass(rushPause)
			b.tick(time.Now())
			got = b.begin()
			require.NotEmpty(t, got)
			require.LessOrEqual(t, len(got), rushStarts*cores/1000+1)
		}
	})
}
