package subscribers_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// countedDB counts the looks of polls, and those for all of them.
type countedDB struct {
	subscribers.DB

	own, shared atomic.Int64
}

func (d *countedDB) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	d.own.Add(1)
	return d.DB.SendBatch(ctx, b)
}

func (d *countedDB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if strings.Contains(sql, "AS v (id)") {
		d.shared.Add(1)
	}
	return d.DB.Query(ctx, sql, args...)
}

func TestOneStatementLooksForAllPollsThatWait(t *testing.T) {
	t.Parallel()
	const n = 50
	s := newTenantStore(t)
	db := &countedDB{DB: s.pool}
	store := subscribers.NewStore(db, subscribers.Limits{})
	var hooks []subscribers.Webhook
	for range n / 5 {
		hooks = append(hooks, s.pulled(t))
	}
	over := make(chan struct{})
	got := make(chan []subscribers.Polled, n)
	var polls sync.WaitGroup
	for i := range n {
		polls.Go(func() {
			list, err := store.Poll(context.Background(), nil, s.tenant, hooks[i%len(hooks)].ID, subscribers.PollRequest{Wait: 30 * time.Second, Stop: over})
			if err != nil {
				t.Error(err)
			}
			got <- list
		})
	}
	until := func(counter *atomic.Int64, at int64) {
		require.Eventually(t, func() bool { return counter.Load() >= at }, time.Minute, time.Millisecond)
	}
	until(&db.own, n)
	until(&db.shared, db.shared.Load()+4)
	require.EqualValues(t, n, db.own.Load(), "each poll has looked once")

	ids := s.arrive(t, &hooks[0], 1)
	require.Equal(t, ids, deliveries(<-got), "without a hint")
	require.LessOrEqual(t, db.own.Load(), int64(n+2*n/len(hooks)), "the other webhooks' polls did not look")
	close(over)
	polls.Wait()

	require.NoError(t, pgx.BeginFunc(context.Background(), s.pool, func(tx pgx.Tx) error {
		_, err := store.In(tx).Poll(context.Background(), nil, s.tenant, hooks[0].ID, subscribers.PollRequest{Wait: time.Second})
		require.ErrorContains(t, err, "wait: is for a store on a pool")
		return nil
	}))
}

func TestALostHintAndADisabledWebhookAreSeenWhileAPollWaits(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	s := newTenantStore(t)
	late, off, ordered := s.pulled(t), s.pulled(t), s.pulled(t, strict)
	type answer struct {
		list []subscribers.Polled
		err  error
	}
	wait := func(w *subscribers.Webhook) <-chan answer {
		out := make(chan answer, 1)
		go func() {
			list, err := s.Poll(context.Background(), nc, s.tenant, w.ID, subscribers.PollRequest{Wait: 30 * time.Second})
			out <- answer{list, err}
		}()
		require.Eventually(t, func() bool { return s.polled(t, w) }, 20*time.Second, time.Millisecond)
		return out
	}
	first, second, third := wait(&late), wait(&off), wait(&ordered)
	ids, inOrder := s.arrive(t, &late, 1), s.arrive(t, &ordered, 1)
	no := false
	_, err := s.Update(context.Background(), s.tenant, off.ID, subscribers.Patch{Enabled: &no})
	require.NoError(t, err)
	got := <-first
	require.NoError(t, got.err)
	require.Equal(t, ids, deliveries(got.list))
	require.ErrorIs(t, (<-second).err, subscribers.ErrDisabled)
	got = <-third
	require.NoError(t, got.err)
	require.Equal(t, inOrder, deliveries(got.list))
}

// polled reports whether a poll of the webhook has looked.
func (s *tenantStore) polled(t *testing.T, w *subscribers.Webhook) bool {
	t.Helper()
	now, err := s.Get(context.Background(), s.tenant, w.ID)
	require.NoError(t, err)
	return now.LastPolledAt != nil
}
