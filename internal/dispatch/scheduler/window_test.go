package scheduler

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestTheWindowKeepsItsBounds gives a window any answers and overloads, and compares
// each change of its size with what the rules allow.
func TestTheWindowKeepsItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		most := rapid.IntRange(1, 200).Draw(rt, "most")
		w := newWindow(float64(min(firstWindow, most)))
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		least, longest := time.Hour, time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(rt, "phases") {
			latency := time.Duration(rapid.IntRange(1, 2000).Draw(rt, "latency")) * time.Millisecond
			least, longest = min(least, latency), max(longest, latency)
			used := rapid.IntRange(0, int(w.size)).Draw(rt, "in flight")
			for range rapid.IntRange(1, 300).Draw(rt, "answers") {
				now = now.Add(latency / time.Duration(used+1))
				before, queues, probing := w.size, w.queues, w.before > 0
				w.started(used)
				w.answered(latency, used, now)
				require.GreaterOrEqual(rt, w.size, before*mostShrink-1e-9, "no round takes more")
				if !probing {
					require.LessOrEqual(rt, w.size, before, "a round's latency enlarges no window")
				}
				before = w.size
				w.grow(most, now)
				require.LessOrEqual(rt, w.size, before+1)
				if queues && w.queues || w.before > 0 {
					require.Equal(rt, before, w.size, "it does not grow while a queue stands, nor while the base is measured")
				}
				require.True(rt, w.size >= 1 && w.size <= float64(max(most, firstWindow)), "%g of %d", w.size, most)
				if w.base > 0 {
					require.Greater(rt, float64(w.base), 0.8*float64(min(least, longest)), "the base is a latency that was seen")
					require.Less(rt, float64(w.base), 1.2*float64(longest))
				}
			}
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				before := w.size
				w.cut(now.Add(time.Nanosecond), now.Add(time.Nanosecond), used)
				require.Equal(rt, max(1, before/2), w.size)
			case 1:
				w.close()
				require.InDelta(rt, 1, w.size, 0)
			}
		}
	})
}

// TestSpreadLatenciesAreNoQueue sends what a hundred endpoints get for a minute, 65 a second each, to endpoints that answer
// as those of the internet do, at once to any number of requests: no window leaves deliveries waiting for long.
func TestSpreadLatenciesAreNoQueue(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		chance := rand.New(rand.NewPCG(1, seed))
		e := endpointTrial{window: newWindow(firstWindow), latency: func() time.Duration { return lognormal(chance) }}
		require.Less(t, e.run(65, time.Minute), 3*time.Second/2, "seed %d: window %g, base %s", seed, e.window.size, e.window.base)
	}
}

// TestAnEndpointThatBecomesSlowKeepsNoSmallWindow answers ten times as late after an overload.
func TestAnEndpointThatBecomesSlowKeepsNoSmallWindow(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		chance := rand.New(rand.NewPCG(2, seed))
		quick := endpointTrial{window: newWindow(firstWindow), latency: func() time.Duration { return lognormal(chance) / 10 }}
		quick.run(200, 20*time.Second)
		for at := time.Unix(0, int64(quick.now)); quick.window.size > leastByLatency; at = at.Add(1) {
			quick.window.cut(at.Add(1), at.Add(1), 0)
		}
		slow := endpointTrial{window: quick.window, latency: func() time.Duration { return lognormal(chance) }, now: quick.now}
		slow.run(200, time.Minute)
		require.Greater(t, slow.window.size, 20.0, "seed %d", seed) // a second's 200 take 120 ms each
	}
}

// lognormal is a latency with the median 120 ms; one in a hundred is over 900 ms.
func lognormal(chance *rand.Rand) time.Duration {
	return time.Duration(120 * math.Exp(0.866*chance.NormFloat64()) * float64(time.Millisecond))
}

// endpointTrial is an endpoint with any number of servers, behind a window.
type endpointTrial struct {
	window  window
	latency func() time.Duration
	now     time.Duration
	flying  []flight // by their end
}

type flight struct{ began, ends time.Duration }

// run lets deliveries come at a constant rate, and returns the longest that one waited for the window.
func (e *endpointTrial) run(perSecond int, lasts time.Duration) (longest time.Duration) {
	begin := e.now
	for due := e.now; due < begin+lasts; due += time.Second / time.Duration(perSecond) {
		e.now = max(e.now, due)
		for len(e.flying) > 0 && (e.flying[0].ends <= e.now || len(e.flying) >= int(e.window.size)) {
			f := e.flying[0]
			e.flying = e.flying[1:]
			e.now = max(e.now, f.ends)
			at := time.Unix(0, int64(f.ends))
			e.window.answered(f.ends-f.began, len(e.flying), at)
			e.window.grow(1024, at)
		}
		longest = max(longest, e.now-due)
		f := flight{e.now, e.now + e.latency()}
		i, _ := slices.BinarySearchFunc(e.flying, f, func(a, b flight) int { return cmp.Compare(a.ends, b.ends) })
		e.flying = slices.Insert(e.flying, i, f)
		e.window.started(len(e.flying))
	}
	return longest
}
