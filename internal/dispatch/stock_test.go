package dispatch

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestALaneLeasesLittleBeforeItHasShownWhatItDrains(t *testing.T) {
	t.Parallel()
	b := newBench(t, 64, 64)
	const lanes = 200
	for i := range lanes {
		e := hook(byte(i), 1, 32)
		b.hint(e.ID, e, b.clock.latest())
	}
	wants := b.wants(sweepLanes)
	require.NotEmpty(t, wants)
	rows := 0
	for _, w := range wants {
		require.LessOrEqual(t, w.Room, pullFirst)
		rows += w.Room
	}
	require.LessOrEqual(t, rows*typicalBytes, stockBytes/4, "what one statement brings is a small part of the stock")
}

func TestAFullStockLeavesEachLaneOneDelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, 1)
	large := func(e *subscribers.Entry) (verdict, *delivery) {
		b.next++
		d := &delivery{Leased: subscribers.Leased{WebhookID: e.ID, MaxAttempts: 8, Envelope: make([]byte, events.MaxEnvelopeBytes)}}
		d.ID[0], d.ID[1], d.ID[2] = byte(b.next), byte(b.next>>8), 1
		return b.add(d, e), d
	}
	flood, other := hook(1, 1, 32), hook(2, 2, 32)
	var held []*delivery
	for {
		v, d := large(flood)
		if v != queued {
			require.Equal(t, full, v)
			break
		}
		held = append(held, d)
	}
	require.InDelta(t, stockBytes/events.MaxEnvelopeBytes, len(held), 2)
	v, last := large(other)
	require.Equal(t, queued, v, "somebody else's first delivery has room all the same")
	v, _ = large(other)
	require.Equal(t, full, v)
	for _, d := range append(held, last) {
		b.forget(d, 0)
	}
	require.Zero(t, b.stock.bytes)
	require.Empty(t, b.stock.shared)
}

func TestAnEnvelopeThatManyDeliveriesShareCountsOnce(t *testing.T) {
	t.Parallel()
	s := stock{shared: map[*byte]int{}}
	envelope := make([]byte, 10_000)
	for range 100 {
		s.add(envelope)
	}
	require.Equal(t, 100*deliveryBytes+10_000, s.bytes)
	for range 100 {
		s.remove(envelope)
	}
	require.Zero(t, s.bytes)
}

func TestALeaseThatHasMovedOnIsNotForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, 1)
	e := hook(1, 1, 32)
	old := &delivery{Leased: subscribers.Leased{WebhookID: e.ID, MaxAttempts: 8}}
	fresh := &delivery{Leased: subscribers.Leased{WebhookID: e.ID, MaxAttempts: 8}}
	require.Equal(t, queued, b.add(fresh, e))
	b.forget(old, 0) // parked a moment ago, and leased again since
	require.True(t, b.holds(fresh.ID))
}

func TestTheSweepHearsAgainOfALaneThatItCouldNotServe(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	e := hook(1, 1, 1)
	for range 3 { // the first times the owner's lease had run out
		b.hint(e.ID, e, b.clock.latest())
		select {
		case <-b.rung:
		default:
			t.Fatal("a lane with due rows waits, and nobody tells the sweep")
		}
	}
	require.Len(t, b.wants(10), 1)
}
