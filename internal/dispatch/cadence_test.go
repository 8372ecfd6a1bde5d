package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestMaintenanceIsDoneAtOnceAndThenEveryFiveMinutes(t *testing.T) {
	t.Parallel()
	require.Equal(t, 5*time.Minute, NewMaintenance(nil, MaintenanceOptions{}).o.Every)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for every, rounds := range map[time.Duration]int{time.Hour: 1, time.Millisecond: 3} {
		round, done := make(chan struct{}), make(chan error, 1)
		m := NewMaintenance(pgtest.Pool(t), MaintenanceOptions{Every: every, Also: func(ctx context.Context) error {
			select {
			case round <- struct{}{}:
			case <-ctx.Done():
			}
			return nil
		}})
		running, stop := context.WithCancel(ctx)
		go func() { done <- m.Run(running) }()
		for range rounds {
			select {
			case <-round:
			case <-ctx.Done():
				require.FailNow(t, "no round came", "every %s", every)
			}
		}
		stop()
		require.NoError(t, <-done)
	}
}
