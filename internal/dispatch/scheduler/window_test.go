package scheduler

import (
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
