package scheduler

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestALaneFetchesLittleBeforeItsRateIsKnown(t *testing.T) {
	t.Parallel()
	b := newBench(t, 64, 64)
	const lanes = 200
	for i := range lanes {
		b.Due(b.now, hook(byte(i), 1, 32), b.now.Latest)
	}
	b.begin()
	fetches := b.took(Fetch)
	require.NotEmpty(t, fetches)
	rows := 0
	for _, f := range fetches {
		require.LessOrEqual(t, f.Room, fetchFirst)
		rows += f.Room
	}
	require.LessOrEqual(t, rows*typicalBytes, budgetBytes/4, "one fetch takes a small part of the budget")
}

func TestAnExhaustedBudgetLeavesEachLaneOneDelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, 1)
	large := func(w *Webhook) (Admission, *Delivery) {
		d := b.delivery(w)
		d.Envelope = make([]byte, events.MaxEnvelopeBytes)
		return b.Add(b.now, d, w), d
	}
	flood, other := hook(1, 1, 32), hook(2, 2, 32)
	var held []*Delivery
	for {
		a, d := large(flood)
		if a != Queued {
			require.Equal(t, Full, a)
			break
		}
		held = append(held, d)
	}
	require.InDelta(t, budgetBytes/events.MaxEnvelopeBytes, len(held), 2)
	a, last := large(other)
	require.Equal(t, Queued, a, "somebody else's first delivery has room all the same")
	a, _ = large(other)
	require.Equal(t, Full, a)
	for _, d := range append(held, last) {
		b.Recorded(b.now, d, 0)
	}
	require.Zero(t, b.budget.bytes)
	require.Empty(t, b.budget.shared)
}

func TestAnEnvelopeThatManyDeliveriesShareCountsOnce(t *testing.T) {
	t.Parallel()
	s := budget{shared: map[*byte]int{}}
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
	w := hook(1, 1, 32)
	fresh := b.delivery(w)
	old := *fresh
	require.Equal(t, Queued, b.Add(b.now, fresh, w))
	b.Recorded(b.now, &old, 0) // released a moment ago, and leased again since
	require.True(t, b.Holds(fresh.ID))
}
