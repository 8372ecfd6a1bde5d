package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var began = time.Unix(1000, 0)

func at(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

func TestTallyCountsEachDeliveryOnce(t *testing.T) {
	t.Parallel()
	a, bad := target("x", 1), target("x", 2)
	y := newTally([]sent{{"1", a, at(0)}, {"2", a, at(100)}, {"3", bad, at(200)}}, map[Target][]string{a: {"/p", "/q"}})
	require.Equal(t, 4, y.missing(), "each event is due at both endpoints, the bad neighbour's at none")
	require.Equal(t, at(200), y.last)
	y.count([]Arrival{
		{Delivery{"1", "/p"}, at(10)},
		{Delivery{"1", "/q"}, at(20)},
		{Delivery{"1", "/p"}, at(300)}, // a second time
		{Delivery{"2", "/p"}, at(500)},
		{Delivery{"3", "/bad"}, at(600)},
		{Delivery{"warm up", "/p"}, at(700)},
	})
	require.Equal(t, 1, y.missing())
	require.Equal(t, 4, y.posts)
	require.Equal(t, 2, y.arrivedBy(at(20)))
	require.Equal(t, 3, y.arrivedBy(at(500)))
	require.InDelta(t, 6, y.perSecond(began), 1e-9, "3 in the half second to the last that counts")
	ms := time.Millisecond
	require.Equal(t, []time.Duration{10 * ms, 20 * ms, 400 * ms, 900 * ms}, y.times(at(1000)),
		"what never came took until the end")
}

func TestTallyOfNothing(t *testing.T) {
	t.Parallel()
	y := newTally([]sent{{"1", target("x", 1), at(0)}}, map[Target][]string{target("x", 1): {"/p"}})
	require.Zero(t, y.perSecond(began))
	require.Equal(t, []time.Duration{time.Second}, y.times(at(1000)))
}
