package dispatch

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// bench is a scheduler under fake time, all of whose partitions are owned.
type bench struct {
	*scheduler
	t    *testing.T
	next uint64
}

func newBench(t *testing.T, fast, slow int) *bench {
	t.Helper()
	c := &clock{}
	c.observe(time.Now(), time.Now())
	b := &bench{scheduler: newScheduler(fast, slow, c), t: t}
	for p := range b.owned {
		b.owned[p] = true
	}
	return b
}

func hook(id, tenant byte, maxInFlight int) *subscribers.Entry {
	return &subscribers.Entry{ID: events.WebhookID{id}, TenantID: events.TenantID{tenant}, Enabled: true, MaxInFlight: maxInFlight}
}

func (b *bench) offer(e *subscribers.Entry, attempts int) (verdict, *delivery) {
	b.next++
	d := &delivery{Leased: subscribers.Leased{WebhookID: e.ID, Attempts: attempts, MaxAttempts: 8}}
	for i := range 8 {
		d.ID[8+i] = byte(b.next >> (8 * i))
	}
	return b.add(d, e), d
}

// pass lets fake time go by.
func (b *bench) pass(d time.Duration) { <-time.After(d) }

// begin starts all that may start now.
func (b *bench) begin() []*delivery {
	var out []*delivery
	for d := b.scheduler.next(); d != nil; d = b.scheduler.next() {
		out = append(out, d)
	}
	return out
}

// beginAll also starts what waits for its crowd's next turn.
func (b *bench) beginAll() []*delivery {
	out := b.begin()
	for !b.heldUntil.IsZero() {
		b.pass(time.Until(b.heldUntil))
		b.tick(time.Now())
		out = append(out, b.begin()...)
	}
	return out
}

func (b *bench) end(d *delivery, r attempt.Result) []*delivery {
	parked := b.finish(d, &r)
	b.forget(d, 0)
	return parked
}

var (
	fine    = attempt.Result{Delivered: true, StatusCode: http.StatusOK, Reason: attempt.ReasonOK, Duration: time.Millisecond}
	timeout = attempt.Result{Reason: attempt.ReasonTimeout, Duration: AttemptTimeout}
	broken  = attempt.Result{Reason: attempt.ReasonServer, StatusCode: http.StatusInternalServerError}
	refused = attempt.Result{Reason: attempt.ReasonClient, StatusCode: http.StatusBadRequest}
)

func TestTheWindowGrowsWhileAnswersAreFastAndNeverPastTheCap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 100)
		e := hook(1, 1, 10)
		for range 500 {
			b.offer(e, 0)
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
	})
}

func TestOverloadHalvesTheWindowOnceARound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 200, 100)
		e := hook(1, 1, 64)
		for range 900 {
			b.offer(e, 0)
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
		require.InDelta(t, 32, b.lanes[e.ID].window, 0.1, "all that was in flight together counts once")
		for _, d := range flying[9:] {
			b.end(d, fine)
		}
		require.LessOrEqual(t, len(b.begin()), 34)
	})
}

func TestRetryAfterRestsTheLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 100)
		e := hook(1, 1, 1)
		b.offer(e, 0)
		b.offer(e, 0)
		d := b.begin()
		require.Len(t, d, 1)
		b.end(d[0], attempt.Result{Reason: attempt.ReasonLimited, StatusCode: http.StatusTooManyRequests, RetryAfter: 30 * time.Second})
		require.Empty(t, b.begin())
		b.pass(29 * time.Second)
		b.tick(time.Now())
		require.Empty(t, b.begin())
		b.pass(time.Second)
		b.tick(time.Now())
		require.Len(t, b.begin(), 1)
	})
}

func TestARateLimitIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 100)
		e := hook(1, 1, 256)
		e.RateLimit = 10
		for range 1000 {
			b.offer(e, 0)
		}
		started := 0
		for range 10_000 / 50 {
			for _, d := range b.begin() {
				started++
				b.end(d, fine)
			}
			b.pass(50 * time.Millisecond)
			b.tick(time.Now())
		}
		require.InDelta(t, 100, started, 2, "ten a second for ten seconds")
	})
}

func TestASecondMessageOfAHeldDeliveryIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10, 10)
		e := hook(1, 1, 32)
		v, d := b.offer(e, 0)
		require.Equal(t, queued, v)
		again := *d
		again.Lease = d.Lease + 1
		require.Equal(t, duplicate, b.add(&again, e))
		require.Equal(t, again.Lease, d.Lease, "the newer lease is the row's")
		require.Len(t, b.begin(), 1)
		require.Equal(t, duplicate, b.add(&again, e), "also while it is on the wire")
	})
}

func TestWhatIsNotOwnedIsNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10, 10)
		e := hook(1, 1, 2)
		for range 5 {
			b.offer(e, 0)
		}
		flying := b.begin()
		require.Len(t, flying, 2)
		require.Len(t, b.own([events.Partitions]bool{}), 3, "queued ones are given up")
		require.Equal(t, 2, b.busyIn(events.Partition(e.ID))-3, "those on the wire go on")
		v, _ := b.offer(e, 0)
		require.Equal(t, foreign, v)
		for _, d := range flying {
			b.end(d, fine)
		}
		require.Zero(t, b.inFlight)
		require.Equal(t, 10, b.fast.free)
	})
}

func TestAPartitionThatComesBackCountsWhatIsStillOnTheWire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10, 10)
		e := hook(1, 1, 2)
		for range 3 {
			b.offer(e, 0)
		}
		flying := b.begin()
		require.Len(t, flying, 2)
		all := b.owned
		b.own([events.Partitions]bool{})
		b.own(all)
		b.offer(e, 0)
		require.Empty(t, b.begin(), "the cap is 2, and 2 are on the wire")
		b.end(flying[0], fine)
		require.Len(t, b.begin(), 1)
		b.own([events.Partitions]bool{})
		b.end(flying[1], fine)
		require.Len(t, b.lanes, 1, "one is on the wire still")
	})
}

// Rows that waited while their webhook was disabled are asked for when it is
// enabled, and not when the next search finds them.
func TestAnEnabledWebhooksRowsAreAskedForAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10, 10)
		known, unknown := hook(1, 1, 2), hook(2, 1, 2)
		b.offer(known, 0)
		b.end(b.begin()[0], fine)
		for _, e := range []*subscribers.Entry{known, unknown} {
			on, off := hook(e.ID[0], 1, 2), hook(e.ID[0], 1, 2)
			off.Enabled = false
			require.Empty(t, b.changed(off))
			require.Empty(t, b.wants(10), "nobody asks for a disabled webhook's")
			require.Empty(t, b.changed(on))
			wants := b.wants(10)
			require.Len(t, wants, 1)
			require.Equal(t, e.ID, wants[0].WebhookID)
		}
	})
}

func TestIdleLanesAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10, 10)
		e := hook(1, 1, 2)
		b.offer(e, 0)
		b.end(b.begin()[0], fine)
		b.evict(time.Now())
		require.Len(t, b.lanes, 1)
		b.pass(laneIdle + time.Second)
		b.evict(time.Now())
		require.Empty(t, b.lanes)
		require.Empty(t, b.fast.shares)
	})
}

// TestALaneSaysThatItWouldOnlyPark: its new rows are then born due.
func TestALaneSaysThatItWouldOnlyPark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 100)
		e := hook(1, 1, 4)
		require.False(t, b.full(e.ID), "nothing is known of it")
		for range queueFirst {
			require.False(t, b.full(e.ID))
			v, _ := b.offer(e, 0)
			require.Equal(t, queued, v)
		}
		require.True(t, b.full(e.ID))
		v, _ := b.offer(e, 0)
		require.Equal(t, full, v)

		b.begin()
		require.False(t, b.full(e.ID), "what is on the wire makes room")

		off := hook(1, 1, 4)
		off.Enabled = false
		b.changed(off)
		require.True(t, b.full(e.ID), "a disabled webhook's wait in the table")
		off.Deleted = true
		b.changed(off)
		require.False(t, b.full(e.ID), "a deleted one's are to be ended")

		none := [events.Partitions]bool{}
		b.own(none)
		require.False(t, b.full(e.ID), "another replica's lane")
	})
}
