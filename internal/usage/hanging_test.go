package usage

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// hang makes every use of the table wait until release is called.
func hang(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE fanmail.tenant_usage IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	var once sync.Once
	release = func() { once.Do(func() { _ = tx.Rollback(context.Background()) }) }
	t.Cleanup(release)
	return release
}

// TestAWaitForAnotherReadEndsWithItsContext while that read hangs.
func TestAWaitForAnotherReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool, at := pgtest.Pool(t), evening()
	c := counter(pool, at)
	of := tenant(t, pool, tenancy.Quota{EventsPerDay: 5})
	release := hang(t, pool)
	first := make(chan error, 1)
	go func() { first <- c.Room(context.Background(), of, 0) }()
	c.mu.Lock()
	d := c.of(of)
	c.mu.Unlock()
	require.Eventually(t, func() bool { return len(d.exchange) == 1 }, 10*time.Second, time.Millisecond, "the first reads")

	left := errors.New("the caller has left")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(left)
	require.ErrorIs(t, c.Room(ctx, of, 0), left)
	_, err := c.Follow(ctx, []events.TenantID{of})
	require.ErrorIs(t, err, left)
	require.Empty(t, first, "the first still reads")
	release()
	require.NoError(t, <-first)
	require.NoError(t, c.Room(t.Context(), of, 0), "who left is not the table's fault")
}

// TestWhoWaitsForAReadThatFailsFailsWithIt, instead of waiting for one after the other.
func TestWhoWaitsForAReadThatFailsFailsWithIt(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool, at := pgtest.Open(t, url), evening()
	of := tenant(t, pool, tenancy.Quota{EventsPerDay: 5})
	release := hang(t, pool)
	bounded, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	bounded.ConnConfig.RuntimeParams["statement_timeout"] = "500"
	reads, err := pgxpool.NewWithConfig(t.Context(), bounded)
	require.NoError(t, err)
	t.Cleanup(reads.Close)
	c := counter(reads, at)
	var all sync.WaitGroup
	const callers = 40
	failed := make(chan error, callers)
	for range callers / 2 {
		all.Go(func() { failed <- c.Room(t.Context(), of, 0) })
		all.Go(func() {
			_, err := c.Follow(t.Context(), []events.TenantID{of})
			failed <- err
		})
	}
	all.Wait()
	for range callers {
		require.Error(t, <-failed)
	}
	require.EqualValues(t, 1, reads.Stat().AcquireCount(), "one has asked the database for all")

	release()
	require.Error(t, c.Room(t.Context(), of, 0), "the failure stands for a moment")
	at.move(failing)
	require.NoError(t, c.Room(t.Context(), of, 0))
}
