package e2e_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// atTheKill is what the database knows of a replay once the dispatcher that worked on it is gone.
type atTheKill struct {
	at        time.Time
	delivered map[string]bool // events whose delivery is recorded
	held      int             // rows that the dead dispatcher holds by a long lease
	ends      time.Time       // when the first of their leases ends
}

// TestAReplayWhoseDispatcherIsKilledGoesOn kills the only dispatcher while the receiver holds its requests. A second
// dispatcher goes on before any lease of the dead one's deliveries ends, and repeats only what has no outcome.
func TestAReplayWhoseDispatcherIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	const all, window = 400, 16
	ctx, cancel := context.WithTimeoutCause(t.Context(), 15*time.Minute, errors.New("the replay took too long"))
	t.Cleanup(cancel)
	f := newFleet(ctx, t)
	tenant := f.tenant(ctx)
	f.past(ctx, tenant, all)
	f.dispatcher(ctx, "first")
	require.Eventually(t, func() bool { return f.count(ctx, `SELECT count(*) FROM fanmail.outbox`) == 0 }, 10*time.Minute, 50*time.Millisecond)

	release := make(chan struct{})
	f.sink.Script("/late", func(c sink.Call) sink.Answer {
		if c.N <= all/2 {
			return sink.Answer{}
		}
		return sink.Answer{Until: release}
	})
	webhook := f.webhook(ctx, tenant, f.sink.URL("/late"), "past", window, false)
	replays := replay.NewStore(f.pool)
	made, err := replays.Create(ctx, tenant, replay.Request{WebhookID: webhook, Mode: replay.Missed, Since: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	require.NoError(t, f.sink.Wait(ctx, func() bool { return f.sink.CountTo("/late") > all/2 }))
	require.Eventually(t, func() bool { return f.held(ctx, webhook) >= window }, 5*time.Minute, 10*time.Millisecond)
	f.kill("first")
	kill := f.afterTheKill(ctx, webhook)
	before := f.sink.PostsTo("/late")
	require.Positive(t, kill.held, "rows that the dead dispatcher holds")
	close(release)
	f.dispatcher(ctx, "second")

	var done replay.Replay
	require.Eventually(t, func() bool {
		done, err = replays.Get(ctx, tenant, made.ID)
		require.NoError(t, err)
		return done.State == replay.Completed
	}, 10*time.Minute, 50*time.Millisecond)
	require.Equal(t, [4]int64{all, all, all, 0}, [4]int64{done.Matched, done.Enqueued, done.Delivered, done.Failed})
	require.True(t, done.FinishedAt.Before(kill.ends), "%d rows of the dead dispatcher waited for their leases: completed at %s, the first lease ended at %s",
		kill.held, done.FinishedAt, kill.ends)
	f.checkRepeats(before, kill, int(done.Delivered))
	t.Logf("completed %.2f leases after the dispatcher's end", done.FinishedAt.Sub(kill.at).Seconds()/subscribers.LeaseDuration.Seconds())
}

// held counts a webhook's rows that a dispatcher has fetched.
func (f *fleet) held(ctx context.Context, webhook events.WebhookID) int {
	f.t.Helper()
	return f.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries
		WHERE webhook_id = $1 AND status = 'pending' AND next_retry_at > now() + make_interval(secs => $2)`, webhook, subscribers.FirstLease.Seconds())
}

// afterTheKill waits until no transaction of a dead dispatcher can commit any more, and reads what is recorded.
func (f *fleet) afterTheKill(ctx context.Context, webhook events.WebhookID) (k atTheKill) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		return f.count(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fanmail-dispatcher'`) == 0
	}, 5*time.Minute, 10*time.Millisecond)
	k.at, k.delivered = time.Now(), map[string]bool{}
	rows, err := f.pool.Query(ctx, `SELECT event_id, status = 'delivered', next_retry_at FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1`, webhook)
	require.NoError(f.t, err)
	var id events.ID
	var delivered bool
	var until *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &delivered, &until}, func() error {
		switch {
		case delivered:
			k.delivered[id.String()] = true
		case until != nil && until.Sub(k.at) > subscribers.FirstLease:
			k.held++
			if k.ends.IsZero() || until.Before(k.ends) {
				k.ends = *until
			}
		}
		return nil
	})
	require.NoError(f.t, err)
	return k
}

// checkRepeats checks that an event came twice only if it had come before the kill and had no recorded outcome, and
// that each of the deliveries that are counted came.
func (f *fleet) checkRepeats(before []sink.Post, kill atTheKill, delivered int) {
	f.t.Helper()
	sent := map[string]int{}
	for _, p := range before {
		sent[p.EventID]++
	}
	times := map[string]int{}
	for _, p := range f.sink.PostsTo("/late") {
		times[p.EventID]++
	}
	twice := 0
	for id, n := range times {
		require.LessOrEqual(f.t, n, 2, "%s came %d times", id, n)
		if n == 2 {
			twice++
			require.False(f.t, kill.delivered[id], "%s came again although its delivery was recorded", id)
			require.Equal(f.t, 1, sent[id], "%s came twice after the kill", id)
		}
	}
	for id := range kill.delivered {
		require.Equal(f.t, 1, times[id], id)
	}
	require.Len(f.t, times, delivered, "the counters are what the receiver got")
	f.t.Logf("recorded at the kill: %d; held: %d; came twice: %d", len(kill.delivered), kill.held, twice)
}
