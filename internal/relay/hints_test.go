package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

func TestHintsEndAtHighRatesAndBeginAtLowOnes(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	h, err := newHints(nc)
	require.NoError(t, err)
	t.Cleanup(h.end)
	// come reports whether a hint that is sent now comes.
	come := func() bool {
		require.NoError(t, nc.Publish(events.WakeOutbox, nil))
		require.NoError(t, nc.Flush())
		if h.sub == nil {
			return len(h.wake) > 0
		}
		select {
		case <-h.wake:
			return true
		case <-time.After(time.Minute):
			return false
		}
	}
	for _, step := range []struct {
		rate float64
		come bool
	}{{0, true}, {hintsEnd - 1, true}, {hintsEnd, false}, {hintsBegin, false}, {10 * hintsEnd, false}, {hintsBegin - 1, true}, {hintsBegin, true}} {
		require.Equal(t, step.come, h.follow(step.rate), "at %v events a second", step.rate)
		require.Equal(t, step.come, come(), "at %v events a second", step.rate)
	}
	nc.Close()
	h.follow(hintsEnd)
	require.False(t, h.follow(0), "the connection is closed")
}
