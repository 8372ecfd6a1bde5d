package scheduler

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAHangingEndpointLeavesSlotsFreeAndGivesItsOwnBackAfterASecond(t *testing.T) {
	t.Parallel()
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
	require.Equal(t, phaseFast, got[0].phase)
	b.end(got[0], fine)
	b.pass(slowAttempt)
	more := b.begin()
	require.Equal(t, 4, b.fast.free)
	require.Len(t, more, 2, "up to the lane's window")
	for _, d := range append(more, stuck...) {
		require.Equal(t, phaseSlow, d.phase, "the hanging ones go on in the slow pool")
	}
	require.Equal(t, 96, b.slow.free)
	b.pass(attemptTimeout - slowAttempt)
	require.Empty(t, b.begin())
	for _, d := range append(stuck, more...) {
		b.end(d, timeout)
	}
	require.Equal(t, 4, b.fast.free)
	require.Equal(t, 100, b.slow.free)
	require.True(t, b.lanes[hanging.ID].breaker.open())
}

// oneOfMany is a webhook of a tenant of thousands.
func oneOfMany(n int) *Webhook {
	w := hook(1, 1, 32)
	w.ID[1], w.ID[2] = byte(n), byte(n>>8)
	return w
}

func TestATenantOfManyHangingEndpointsDoesNotTryThemAllOnFastSlots(t *testing.T) {
	t.Parallel()
	b := newBench(t, 64, 4000)
	for i := range 2000 {
		b.offer(oneOfMany(i), 0)
	}
	onFast := 0
	for range 12 {
		for _, d := range b.beginAll() {
			if d.phase == phaseFast {
				onFast++
			}
		}
		b.pass(slowAttempt)
	}
	require.Equal(t, 32, onFast, "the first half of the pool; then the tenant's unproven lanes count as slow")
	require.Equal(t, 2000, b.flying)
	b.offer(hook(2, 2, 32), 0)
	got := b.begin()
	require.Len(t, got, 1)
	require.Equal(t, phaseFast, got[0].phase)
}

func TestReplaysWaitBehindWhatIsNewWithoutStarving(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, 1)
	w := hook(1, 1, 1)
	for range 100 {
		d := b.delivery(w)
		d.IsReplay = true
		require.Equal(t, Queued, b.Add(b.now, d, w))
	}
	for range 100 {
		b.offer(w, 0)
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
}

func TestFirstAttemptsGoAheadOfRetriesWithoutStarvingThem(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, 1)
	w := hook(1, 1, 1)
	for range 40 {
		b.offer(w, 0)
		b.offer(w, 3)
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
}

func TestSlowStartStartsAFewAtATimeAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t, 4000, 8000)
	for i := range crowdedSlow {
		b.offer(oneOfMany(i), 0)
	}
	require.Len(t, b.begin(), crowdedSlow, "the tenant is not crowded yet")
	b.pass(slowAttempt)
	b.begin()

	const many = 2000
	for i := range many {
		b.offer(oneOfMany(1000+i), 0)
	}
	started := len(b.begin())
	require.Equal(t, slowStartBurst*b.o.Cores, started)
	healthy := hook(2, 2, 32)
	b.offer(healthy, 0)
	got := b.begin()
	require.Len(t, got, 1, "of another tenant, and unproven too")
	require.Equal(t, healthy.ID, got[0].WebhookID)
	quick := oneOfMany(9000)
	l := b.laneOf(quick, b.now)
	l.pace, l.rate.perSecond = paceFast, slowStartBelow
	b.offer(quick, 0)
	got = b.begin()
	require.Len(t, got, 1, "of the same tenant, but it completes attempts")
	require.Equal(t, quick.ID, got[0].WebhookID)

	for ; started < many; started += len(got) {
		b.pass(slowStartPause)
		got = b.begin()
		require.NotEmpty(t, got)
		require.LessOrEqual(t, len(got), slowStartRate*b.o.Cores/1000+1)
	}
}

// The same with the slots of a large process: half of the pool would be
// thousands.
func TestEndpointsThatNeverDeliveredHoldFewFastSlotsOfThousands(t *testing.T) {
	t.Parallel()
	b := newBench(t, 4096, 16384)
	for i := range 4000 {
		b.offer(oneOfMany(i), 0)
	}
	onFast := 0
	for range 12 {
		for _, d := range b.beginAll() {
			if d.phase == phaseFast {
				onFast++
			}
		}
		b.pass(slowAttempt)
	}
	require.Equal(t, crowdedUnproven, onFast)
	require.Equal(t, 4000, b.flying, "the others went to slow slots, paced by slow start")
	require.Zero(t, b.fast.share(hook(1, 1, 1).TenantID).unproven)
}
