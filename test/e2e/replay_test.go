package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/outbox"
)

// rehearsal is the size of a run.
type rehearsal struct {
	past  int           // events to replay
	every time.Duration // between two live events
	alone time.Duration // live traffic by itself, to compare with
}

func rehearse() rehearsal {
	if long {
		return rehearsal{past: 100_000, every: 5 * time.Millisecond, alone: 40 * time.Second}
	}
	return rehearsal{past: 3_000, every: 20 * time.Millisecond, alone: 3 * time.Second}
}

// TestAReplayUnderLiveTraffic replays past events to a new webhook, beside live traffic. Another
// replay is cancelled, and the dispatcher that works on the first is killed in the middle.
func TestAReplayUnderLiveTraffic(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 25*time.Minute, errors.New("the replay took too long"))
	t.Cleanup(cancel)
	f, size := newFleet(ctx, t), rehearse()
	tenant := f.tenant(ctx)
	f.dispatcher(ctx, "dispatcher-1")
	f.dispatcher(ctx, "dispatcher-2")
	f.webhook(ctx, tenant, f.sink.URL("/live"), "live", 32, false)
	past := f.past(ctx, tenant, size.past)
	require.Eventually(t, func() bool { return f.count(ctx, `SELECT count(*) FROM fanmail.outbox`) == 0 }, 10*time.Minute, 100*time.Millisecond)

	live := f.traffic(ctx, tenant, size.every)
	began := time.Now()
	require.Eventually(t, func() bool { return time.Since(began) > size.alone }, 10*time.Minute, 50*time.Millisecond)
	late := f.webhook(ctx, tenant, f.sink.URL("/late"), "past", 32, false)
	other := f.webhook(ctx, tenant, f.sink.URL("/other"), "past", 4, false)
	replays := replay.NewStore(f.pool)
	ask := func(q replay.Request) events.ReplayID {
		q.Since = time.Now().Add(-time.Hour)
		made, err := replays.Create(ctx, tenant, q)
		require.NoError(t, err)
		return made.ID
	}
	get := func(id events.ReplayID) replay.Replay {
		r, err := replays.Get(ctx, tenant, id)
		require.NoError(t, err)
		return r
	}
	asked := time.Now()
	id, second := ask(replay.Request{WebhookID: late, Mode: replay.Missed}), ask(replay.Request{WebhookID: other, Mode: replay.All})
	require.NoError(t, f.sink.Wait(ctx, func() bool { return f.sink.CountTo("/other") > size.past/50 }))
	_, err := replays.Cancel(ctx, tenant, second)
	require.NoError(t, err)
	require.NoError(t, f.sink.Wait(ctx, func() bool { return f.sink.CountTo("/late") > size.past/2 }))
	t.Logf("in the middle: %+v", get(id))

	victim := "dispatcher-1"
	if f.metric(ctx, "dispatcher-2", "fanmail_replay_running") > 0 {
		victim = "dispatcher-2"
	}
	killed := time.Now()
	f.kill(victim)
	f.dispatcher(ctx, "dispatcher-3")
	var done replay.Replay
	require.Eventually(t, func() bool { done = get(id); return done.State == replay.Completed }, 15*time.Minute, 100*time.Millisecond)
	ended := time.Now()
	live.stop()
	require.NoError(t, f.sink.Wait(ctx, func() bool { return f.sink.CountTo("/live") >= live.count() }))

	require.Equal(t, [4]int64{int64(size.past), int64(size.past), int64(size.past), 0}, [4]int64{done.Matched, done.Enqueued, done.Delivered, done.Failed})
	cancelled := get(second)
	require.Equal(t, replay.Cancelled, cancelled.State)
	require.Equal(t, cancelled.Enqueued, cancelled.Delivered+cancelled.Failed)
	require.Less(t, cancelled.Enqueued, int64(size.past))

	// Only what was in flight, or had no recorded outcome yet when the dispatcher died, arrives twice.
	first := map[string]time.Time{}
	twice := 0
	for _, p := range f.sink.PostsTo("/late") {
		at, seen := first[p.EventID]
		if !seen {
			first[p.EventID] = p.At
			continue
		}
		twice++
		require.WithinRange(t, at, killed.Add(-5*time.Second), killed.Add(time.Second), "a POST too many that the kill does not explain")
	}
	for _, id := range past {
		if _, came := first[id.String()]; !came { // require.Contains walks the whole map
			require.Fail(t, "an event did not arrive", "%s", id)
		}
	}
	require.Len(t, first, size.past)
	t.Logf("%d events replayed in %s from %s, %d POSTs of them twice, all on their way at the kill; the cancelled one: %d of %d made, %d failed",
		size.past, ended.Sub(asked).Round(100*time.Millisecond), done.Source, twice, cancelled.Enqueued, cancelled.Matched, cancelled.Failed)

	alone := live.latencies(f, began.Add(size.alone/4), asked)
	beside := append(live.latencies(f, asked, killed.Add(-time.Second)), live.latencies(f, killed.Add(20*time.Second), ended)...)
	slices.Sort(beside)
	t.Logf("live alone: %s", spread(alone))
	t.Logf("beside the replay: %s", spread(beside))
	t.Logf("the 20 s after the kill: %s", spread(live.latencies(f, killed.Add(-time.Second), killed.Add(20*time.Second))))
	if long {
		require.Less(t, quantile(beside, 0.99), 2*quantile(alone, 0.99), "live p99")
	}
}

// past inserts events that match no webhook yet.
func (f *fleet) past(ctx context.Context, tenant events.TenantID, n int) []events.ID {
	f.t.Helper()
	var ids []events.ID
	for len(ids) < n {
		evs := make([]events.Event, min(500, n-len(ids)))
		for i := range evs {
			evs[i] = events.Event{TenantID: tenant, Type: events.EmailReceived, Labels: []string{"past"}, Data: json.RawMessage(`{"subject":"long ago"}`)}
		}
		require.NoError(f.t, pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
			done, err := outbox.InsertMany(ctx, tx, evs)
			for _, d := range done {
				ids = append(ids, d.ID)
			}
			return err
		}))
	}
	return ids
}

// traffic is live events, one after the other at a fixed pace.
type traffic struct {
	stop func()
	mu   sync.Mutex
	sent map[string]time.Time
}

func (f *fleet) traffic(ctx context.Context, tenant events.TenantID, every time.Duration) *traffic {
	ctx, cancel := context.WithCancel(ctx)
	tr := &traffic{sent: map[string]time.Time{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := pgx.BeginFunc(context.WithoutCancel(ctx), f.pool, func(tx pgx.Tx) error {
				at := time.Now()
				id, err := outbox.Insert(ctx, tx, events.Event{TenantID: tenant, Type: events.EmailReceived, Labels: []string{"live"}, Data: json.RawMessage(`{"subject":"now"}`)})
				if err == nil {
					tr.mu.Lock()
					tr.sent[id.String()] = at
					tr.mu.Unlock()
				}
				return err
			})
			if err != nil && ctx.Err() == nil {
				f.t.Errorf("insert a live event: %v", err)
				return
			}
		}
	})
	tr.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	f.t.Cleanup(tr.stop)
	return tr
}

func (tr *traffic) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.sent)
}

// latencies from insert to arrival of the live events of a span of time, sorted.
func (tr *traffic) latencies(f *fleet, from, to time.Time) []time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var out []time.Duration
	seen := map[string]bool{}
	for _, p := range f.sink.PostsTo("/live") {
		at, ok := tr.sent[p.EventID]
		if ok && !seen[p.EventID] && !at.Before(from) && at.Before(to) {
			out = append(out, p.At.Sub(at))
		}
		seen[p.EventID] = true
	}
	slices.Sort(out)
	return out
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func spread(sorted []time.Duration) string {
	return fmt.Sprintf("p50 %s, p99 %s of %d", quantile(sorted, 0.5).Round(100*time.Microsecond), quantile(sorted, 0.99).Round(100*time.Microsecond), len(sorted))
}
