package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAWorkerWithoutAnAttemptIsUsedAgainAndEnds looks at what a worker waits for, by a
// clock of its own.
func TestAWorkerWithoutAnAttemptIsUsedAgainAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &Dispatcher{free: make(chan *delivery), idle: make(chan struct{})}
		timer := time.NewTimer(workerIdle)
		begun, q := time.Now(), &delivery{}
		require.False(t, d.reused(q), "no worker waits")
		time.AfterFunc(workerIdle/2, func() { d.reused(q) })
		require.Same(t, q, d.next(timer))
		require.Equal(t, workerIdle/2, time.Since(begun))

		begun = time.Now()
		require.Nil(t, d.next(timer), "no attempt comes")
		require.Equal(t, workerIdle, time.Since(begun))

		begun = time.Now()
		time.AfterFunc(workerIdle/2, func() { close(d.idle) })
		require.Nil(t, d.next(timer), "all attempts have ended")
		require.Equal(t, workerIdle/2, time.Since(begun))
	})
}
