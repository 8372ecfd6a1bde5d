package dispatch

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/subscribers"
)

// TestSuccessesDoNotWaitBehindAFloodOfFailures looks at what the ledger's
// commits hold while hundreds of attempts time out together.
func TestSuccessesDoNotWaitBehindAFloodOfFailures(t *testing.T) {
	t.Parallel()
	l := newLedger(nil, zap.NewNop(), newMetrics(nil, nil), func(bool) {}, func() {})
	add := func(n int, e entry) {
		for range n {
			l.add(e)
		}
	}
	success := entry{kind: entryOutcome, outcome: subscribers.Outcome{Delivered: true}}
	count := func(batch []entry) (successes, others int) {
		for i := range batch {
			if batch[i].success() {
				successes++
			}
		}
		return successes, len(batch) - successes
	}
	add(100, entry{kind: entryOutcome})
	add(100, entry{kind: entryPark})
	add(20, success)
	add(100, entry{kind: entryRenew})
	add(20, success)

	batch, more := l.take()
	successes, others := count(batch)
	require.Equal(t, 40, successes, "all of them")
	require.Equal(t, ledgerGentle, others)
	require.True(t, more, "the ledger rests before the others")
	taken := others
	for more {
		batch, more = l.take()
		successes, others = count(batch)
		require.Zero(t, successes)
		require.LessOrEqual(t, others, ledgerGentle)
		taken += others
	}
	require.Equal(t, 300, taken, "each once")
	batch, more = l.take()
	require.Empty(t, batch)
	require.False(t, more)

	// What would stop new attempts is written away without rests.
	add(ledgerPause, entry{kind: entryPark})
	batch, more = l.take()
	require.Len(t, batch, ledgerPause/8)
	require.False(t, more)
}
