package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var began = time.Unix(1000, 0)

func at(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

func TestTrackerCountsEachDeliveryOnce(t *testing.T) {
	t.Parallel()
	a, bad := target("x", 1), target("x", 2)
	y := newTracker([]sent{{"1", a, at(0)}, {"2", a, at(100)}, {"3", bad, at(200)}}, map[Target][]string{a: {"/p", "/q"}})
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

func TestTrackerOfNothing(t *testing.T) {
	t.Parallel()
	y := newTracker([]sent{{"1", target("x", 1), at(0)}}, map[Target][]string{target("x", 1): {"/p"}})
	require.Zero(t, y.perSecond(began))
	require.Equal(t, []time.Duration{time.Second}, y.times(at(1000)))
}

func TestTrackerLeavesOutWhatWasRefused(t *testing.T) {
	t.Parallel()
	a := target("x", 1)
	half := Answer{Refuse: .5}
	var refused, taken string // an event of either kind
	for i := 0; refused == "" || taken == ""; i++ {
		id := fmt.Sprintf("evt_%d", i)
		if half.refuses(id) {
			refused = id
		} else {
			taken = id
		}
	}
	y := newTracker([]sent{{refused, a, at(0)}, {taken, a, at(0)}}, map[Target][]string{a: {"/p"}})
	y.expectRefusals([]Endpoint{{Target: a, Path: "/p", Answer: half}})
	require.Equal(t, 2, y.untried())
	y.count([]Arrival{{Delivery{refused, "/p"}, at(10)}})
	require.Equal(t, 2, y.missing(), "it was refused")
	require.Equal(t, 1, y.untried())
	require.Zero(t, y.retried())
	y.count([]Arrival{{Delivery{taken, "/p"}, at(20)}})
	require.Zero(t, y.untried())
	require.Equal(t, 1, y.missing())
	y.count([]Arrival{{Delivery{refused, "/p"}, at(30)}})
	require.Zero(t, y.missing())
	require.Equal(t, 1, y.retried())
	require.Equal(t, 2, y.posts, "the refused one is none of those")
	require.Equal(t, []time.Duration{20 * time.Millisecond, 30 * time.Millisecond}, y.times(at(99)))
}

func TestShareOfRefusals(t *testing.T) {
	t.Parallel()
	n := 0
	for i := range 10_000 {
		if (Answer{Refuse: .1}).refuses(fmt.Sprintf("evt_%032x", i)) {
			n++
		}
	}
	require.InDelta(t, 1000, n, 150)
	require.False(t, Answer{}.refuses("evt"))
	require.True(t, Answer{Refuse: 1}.refuses("evt"))
}

func TestWorstOfATime(t *testing.T) {
	t.Parallel()
	a := target("x", 1)
	y := newTracker([]sent{{"1", a, at(0)}, {"2", a, at(100)}, {"3", a, at(200)}}, map[Target][]string{a: {"/p"}})
	y.count([]Arrival{{Delivery{"1", "/p"}, at(90)}, {Delivery{"2", "/p"}, at(110)}})
	require.Equal(t, 10*time.Millisecond, y.worst(at(50), at(150), at(999)))
	require.Equal(t, 90*time.Millisecond, y.worst(at(0), at(150), at(999)))
	require.Equal(t, 300*time.Millisecond, y.worst(at(0), at(200), at(500)), "what never came took until the end")
	require.Zero(t, y.worst(at(300), at(400), at(999)))
}
