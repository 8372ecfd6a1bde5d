package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestTheWindowGrowsWhileAnswersAreFastAndNeverPastTheCap(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 100)
	w := hook(1, 1, 10)
	for range 500 {
		b.offer(w, 0)
	}
	sizes := []int{}
	for range 6 {
		flying := b.begin()
		sizes = append(sizes, len(flying))
		b.pass(5 * time.Millisecond)
		for _, d := range flying {
			b.end(d, fine)
		}
	}
	require.Equal(t, firstWindow, sizes[0])
	require.Equal(t, 10, sizes[len(sizes)-1])
	for _, n := range sizes {
		require.LessOrEqual(t, n, 10)
	}
}

func TestOverloadHalvesTheWindowOnceARound(t *testing.T) {
	t.Parallel()
	b := newBench(t, 200, 100)
	w := hook(1, 1, 64)
	for range 900 {
		b.offer(w, 0)
	}
	for range 8 {
		flying := b.begin()
		b.pass(time.Millisecond)
		for _, d := range flying {
			b.end(d, fine)
		}
	}
	flying := b.begin()
	require.Len(t, flying, 64)
	b.pass(time.Millisecond)
	for _, d := range flying[:9] {
		b.end(d, broken)
	}
	require.InDelta(t, 32, b.lanes[w.ID].window.size, 0.1, "all that was in flight together counts once")
	for _, d := range flying[9:] {
		b.end(d, fine)
	}
	require.LessOrEqual(t, len(b.begin()), 34)
}

func TestRetryAfterRestsTheLane(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 100)
	w := hook(1, 1, 1)
	b.offer(w, 0)
	b.offer(w, 0)
	d := b.begin()
	require.Len(t, d, 1)
	b.end(d[0], Result{Outcome: Overloaded, RetryAfter: 30 * time.Second})
	require.Empty(t, b.begin())
	b.pass(29 * time.Second)
	require.Empty(t, b.begin())
	b.pass(time.Second)
	require.Len(t, b.begin(), 1)
}

func TestARateLimitIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 100)
	w := hook(1, 1, 256)
	w.RateLimit = 10
	for range 1000 {
		b.offer(w, 0)
	}
	started := 0
	for range 10_000 / 50 {
		for _, d := range b.begin() {
			started++
			b.end(d, fine)
		}
		b.pass(50 * time.Millisecond)
	}
	require.InDelta(t, 100, started, 2, "ten a second for ten seconds")
}

func TestASecondMessageOfAHeldDeliveryIsDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	w := hook(1, 1, 32)
	a, d := b.offer(w, 0)
	require.Equal(t, Queued, a)
	second := *d
	second.Lease = d.Lease + 1
	require.Equal(t, Duplicate, b.Add(b.now, &second, w))
	require.Equal(t, second.Lease, d.Lease, "the newer lease is the row's")
	require.Len(t, b.begin(), 1)
	require.Equal(t, Duplicate, b.Add(b.now, &second, w), "also while it is in flight")
	third := second
	third.Lease++
	require.Equal(t, Duplicate, b.Add(b.now, &third, w))
	require.Equal(t, second.Lease, d.Lease, "the attempt's lease stays")
	b.Finish(b.now, d, fine)
	b.Recorded(b.now, d, third.Lease)
	require.True(t, b.Holds(d.ID))
	require.Len(t, b.took(Release), 1, "nobody would use the later lease")
	require.Equal(t, third.Lease, d.Lease)
	b.Recorded(b.now, d, b.now.Latest)
	require.False(t, b.Holds(d.ID))
}

func TestWhatIsNotOwnedIsNotTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	w := hook(1, 1, 2)
	for range 5 {
		b.offer(w, 0)
	}
	flying := b.begin()
	require.Len(t, flying, 2)
	b.Own([events.Partitions]bool{})
	require.Len(t, b.took(Release), 3, "queued ones are released")
	require.Equal(t, 2, b.Unrecorded(events.Partition(w.ID))-3, "those in flight go on")
	a, _ := b.offer(w, 0)
	require.Equal(t, Foreign, a)
	for _, d := range flying {
		b.end(d, fine)
	}
	require.Zero(t, b.flying)
	require.Equal(t, 10, b.fast.free)
}

func TestAPartitionThatComesBackCountsWhatIsStillInFlight(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	w := hook(1, 1, 2)
	for range 3 {
		b.offer(w, 0)
	}
	flying := b.begin()
	require.Len(t, flying, 2)
	b.Own([events.Partitions]bool{})
	b.Own(everything())
	b.offer(w, 0)
	require.Empty(t, b.begin(), "the cap is 2, and 2 are in flight")
	b.end(flying[0], fine)
	require.Len(t, b.begin(), 1)
	b.Own([events.Partitions]bool{})
	b.end(flying[1], fine)
	require.Len(t, b.lanes, 1, "one is in flight still")
}

// Rows that waited while their webhook was disabled are fetched when it is
// enabled, and not when the next rescue finds them.
func TestAnEnabledWebhooksRowsAreAskedForAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	known, unknown := hook(1, 1, 2), hook(2, 1, 2)
	b.offer(known, 0)
	b.end(b.begin()[0], fine)
	for _, w := range []*Webhook{known, unknown} {
		off := *w
		off.Status = Disabled
		b.Change(b.now, &off)
		b.begin()
		require.Empty(t, b.took(Fetch), "nobody fetches a disabled webhook's")
		b.Change(b.now, w)
		b.begin()
		fetches := b.took(Fetch)
		require.Len(t, fetches, 1)
		require.Equal(t, w.ID, fetches[0].Webhook)
		b.Fetched(b.now, []FetchResult{{WebhookID: w.ID}})
	}
}

func TestIdleLanesAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	w := hook(1, 1, 2)
	b.offer(w, 0)
	b.end(b.begin()[0], fine)
	b.evict(b.now)
	require.Len(t, b.lanes, 1)
	b.pass(evictAfter + time.Second)
	b.evict(b.now)
	require.Empty(t, b.lanes)
	require.Empty(t, b.fast.shares)
}

// The fan-out asks this to insert new rows of a full lane as due.
func TestALaneSaysThatItWouldOnlyRelease(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 100)
	w := hook(1, 1, 4)
	require.False(t, b.Full(w.ID), "nothing is known of it")
	for range queueFirst {
		require.False(t, b.Full(w.ID))
		a, _ := b.offer(w, 0)
		require.Equal(t, Queued, a)
	}
	require.True(t, b.Full(w.ID))
	a, _ := b.offer(w, 0)
	require.Equal(t, Full, a)

	b.begin()
	require.False(t, b.Full(w.ID), "what is in flight makes room")

	off := *w
	off.Status = Disabled
	b.Change(b.now, &off)
	require.True(t, b.Full(w.ID), "a disabled webhook's wait in the table")
	off.Status = Deleted
	b.Change(b.now, &off)
	require.False(t, b.Full(w.ID), "a deleted one's are to be ended")

	b.Own([events.Partitions]bool{})
	require.False(t, b.Full(w.ID), "another replica's lane")
}

func TestAQuickLaneMakesItsCallersWaitForRoom(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	w := hook(1, 1, 8)
	b.offer(w, 0)
	b.end(b.begin()[0], fine)
	b.lanes[w.ID].rate.perSecond = quickLane
	for range queueFirst {
		a, _ := b.offer(w, 0)
		require.Equal(t, Queued, a)
	}
	a, _ := b.offer(w, 0)
	require.Equal(t, Busy, a)
	for b.lanes[w.ID].queued() > queueFirst/2 {
		require.Empty(t, b.took(RoomAvailable), "half of the queue is to be empty first")
		for _, d := range b.begin() {
			b.pass(time.Millisecond)
			b.end(d, fine)
		}
		b.lanes[w.ID].rate.perSecond = quickLane
	}
	require.Len(t, b.took(RoomAvailable), 1)
}
