package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/subscribers"
)

// TestSuccessesDoNotWaitBehindAFloodOfFailures looks at what the outcome writer's
// commits hold while hundreds of attempts time out together.
func TestSuccessesDoNotWaitBehindAFloodOfFailures(t *testing.T) {
	t.Parallel()
	w := newOutcomeWriter(nil, zap.NewNop(), newMetrics(nil, nil), &clock{})
	add := func(n int, e entry) {
		for range n {
			w.add(e)
		}
	}
	success := entry{kind: entryOutcome, d: &delivery{}, outcome: subscribers.Outcome{Delivered: true}}
	count := func(batch []entry) (successes, others int) {
		for i := range batch {
			if batch[i].success() {
				successes++
			}
		}
		return successes, len(batch) - successes
	}
	add(100, entry{kind: entryOutcome, d: &delivery{}})
	add(100, entry{kind: entryRelease})
	add(20, success)
	add(100, entry{kind: entryRenew})
	add(20, success)

	batch, more := w.take()
	successes, others := count(batch)
	require.Equal(t, 40, successes, "all of them")
	require.Equal(t, gentleBatch, others)
	require.True(t, more, "the writer rests before the others")
	taken := others
	for more {
		batch, more = w.take()
		successes, others = count(batch)
		require.Zero(t, successes)
		require.LessOrEqual(t, others, gentleBatch)
		taken += others
	}
	require.Equal(t, 300, taken, "each once")
	batch, more = w.take()
	require.Empty(t, batch)
	require.False(t, more)

	// What would stop new attempts is written away without rests.
	add(outcomeLimit, entry{kind: entryRelease})
	batch, more = w.take()
	require.Len(t, batch, outcomeLimit/8)
	require.False(t, more)
}

// TestOutcomeWritersOfAFleetLeaveRoomForEachOther looks at how long the writer rests
// after commits, by a clock of its own.
func TestOutcomeWritersOfAFleetLeaveRoomForEachOther(t *testing.T) {
	t.Parallel()
	strict := entry{kind: entryOutcome, d: &delivery{webhook: &subscribers.Entry{Strict: true}}}
	for name, c := range map[string]struct {
		peers int64
		took  time.Duration
		more  bool
		want  time.Duration
		cut   time.Duration // by a strict lane's outcome that comes after 1 ms
	}{
		"alone":               {peers: 0, took: 3 * time.Millisecond},
		"before the first":    {peers: -1, took: 3 * time.Millisecond},
		"one of three":        {peers: 2, took: 3 * time.Millisecond, want: 6 * time.Millisecond, cut: time.Millisecond},
		"a slow database":     {peers: 2, took: time.Second, want: outcomeRest, cut: time.Millisecond},
		"alone, a flood":      {peers: 0, took: 3 * time.Millisecond, more: true, want: 3 * time.Millisecond, cut: 3 * time.Millisecond},
		"one of two, a flood": {peers: 1, took: 3 * time.Millisecond, more: true, want: 3 * time.Millisecond, cut: 3 * time.Millisecond},
		"one of many":         {peers: 49, took: 3 * time.Millisecond, more: true, want: outcomeRest, cut: outcomeRest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newOutcomeWriter(nil, zap.NewNop(), newMetrics(nil, nil), &clock{})
				w.peers.Store(c.peers)
				rested := func(ctx context.Context) time.Duration {
					start := time.Now()
					w.rest(ctx, c.took, c.more)
					return time.Since(start)
				}
				require.Equal(t, c.want, rested(t.Context()))
				time.AfterFunc(time.Millisecond, func() { w.add(strict) })
				require.Equal(t, c.cut, rested(t.Context()))
				<-time.After(time.Millisecond)
				_, _ = w.take()
				require.Equal(t, c.want, rested(t.Context()), "what has been taken hurries nobody")
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				require.Zero(t, rested(ended))
			})
		})
	}
}

// TestOutcomesAreGatheredWhileNobodyWaits looks at the rest after a commit of a
// writer that gathers, by a clock of its own.
func TestOutcomesAreGatheredWhileNobodyWaits(t *testing.T) {
	t.Parallel()
	plain := entry{kind: entryOutcome, d: &delivery{}, outcome: subscribers.Outcome{Delivered: true}}
	strict := entry{kind: entryOutcome, d: &delivery{webhook: &subscribers.Entry{Strict: true}}}
	add := func(n int, e entry) func(*outcomeWriter) {
		return func(w *outcomeWriter) {
			for range n {
				w.add(e)
			}
		}
	}
	for name, c := range map[string]struct {
		peers int64
		what  func(*outcomeWriter) // happens after 1 ms
		want  time.Duration
	}{
		"a few successes":           {what: add(gatheredBatch-1, plain), want: gatherRest},
		"enough successes":          {what: add(gatheredBatch, plain), want: time.Millisecond},
		"a strict webhook":          {what: add(1, strict), want: time.Millisecond},
		"a renewal":                 {what: add(1, entry{kind: entryRenew}), want: gatherRest},
		"a release":                 {what: add(1, entry{kind: entryRelease}), want: time.Millisecond},
		"a delivery without a lane": {what: add(1, entry{kind: entryReclaim}), want: time.Millisecond},
		"one of three, enough":      {peers: 2, what: add(gatheredBatch, plain), want: 6 * time.Millisecond},
		"one of three, a few":       {peers: 2, what: add(1, plain), want: gatherRest},
		"the process stops": {want: time.Millisecond, what: func(w *outcomeWriter) {
			w.add(plain)
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_ = w.flush(ended)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newOutcomeWriter(nil, zap.NewNop(), newMetrics(nil, nil), &clock{})
				w.gathers.Store(true)
				w.peers.Store(c.peers)
				start := time.Now()
				time.AfterFunc(time.Millisecond, func() { c.what(w) })
				w.rest(t.Context(), 3*time.Millisecond, false)
				require.Equal(t, c.want, time.Since(start))
				<-time.After(time.Millisecond)
				_, _ = w.take()
				start = time.Now()
				w.gathers.Store(true)
				w.rest(t.Context(), 3*time.Millisecond, false)
				require.Equal(t, gatherRest, time.Since(start), "what has been taken is waited for by nobody")
			})
		})
	}
}
