package fanout_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// withoutBroker makes a fan-out that has neither NATS nor JetStream and knows the
// present webhooks. lanes may be nil.
func withoutBroker(t *testing.T, pool *pgxpool.Pool, lanes fanout.Lanes) *fanout.Fanout {
	t.Helper()
	log := zaptest.NewLogger(t)
	registry := subscribers.NewRegistry(pool, nil, log)
	require.NoError(t, registry.Load(t.Context()))
	return fanout.New(pool, nil, registry, fanout.Options{Log: log, Lanes: lanes})
}

// number runs a query whose result is one number.
func number(t *testing.T, pool *pgxpool.Pool, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(context.Background(), query, args...).Scan(&n))
	return n
}

// locked waits until n backends of the database wait for a lock.
func locked(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting int
		err := pool.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting == n
	}, time.Minute, 5*time.Millisecond, "%d transactions wait", n)
}

const (
	inOutbox      = `SELECT count(*) FROM fanmail.outbox`
	deliveries    = `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries`
	dueDeliveries = deliveries + ` WHERE status = 'pending' AND attempts = 0 AND next_retry_at <= now()`
	distinctPairs = `SELECT count(DISTINCT (event_id, webhook_id)) FROM fanmail.webhook_subscriber_deliveries`
)

// TestOneRoundEmptiesTheOutboxWithoutABroker has more events than a batch takes,
// and more deliveries of one batch than an INSERT takes.
func TestOneRoundEmptiesTheOutboxWithoutABroker(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool)
	const n, webhooks = 1200, 5
	l := &lanes{due: map[events.WebhookID]int{}, fed: map[events.WebhookID]int{}}
	want := map[events.WebhookID]int{}
	for range webhooks {
		want[newWebhook(t, pool, tenant)] = n
	}
	insert(t, pool, tenant, n/2)
	insert(t, pool, tenant, n/2)
	f := withoutBroker(t, pool, l)

	got, err := f.Round(t.Context())
	require.NoError(t, err)
	require.Equal(t, n, got)
	require.Zero(t, number(t, pool, inOutbox))
	require.Equal(t, n*webhooks, number(t, pool, dueDeliveries), "the deliveries are due at once")
	require.Equal(t, n*webhooks, number(t, pool, distinctPairs))
	require.Equal(t, want, l.due, "each delivery was announced to its lane")
	require.Empty(t, l.fed, "a due delivery is not leased, so it is not offered")

	got, err = f.Round(t.Context())
	require.NoError(t, err)
	require.Zero(t, got, "nothing is left for a second call")

	insert(t, pool, tenant, 500) // exactly one batch
	got, err = f.Round(t.Context())
	require.NoError(t, err)
	require.Equal(t, 500, got)
	require.Equal(t, (n+500)*webhooks, number(t, pool, deliveries))
	require.Equal(t, (n+500)*webhooks, number(t, pool, distinctPairs))
}

// TestARoundTakesWhatADeadPublisherHadLeased has a publisher that died between the
// lease and the publication.
func TestARoundTakesWhatADeadPublisherHadLeased(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	const n = 10
	insert(t, pool, tenant, n)
	leased, err := outbox.Lease(ctx, pool, n)
	require.NoError(t, err)
	require.Len(t, leased, n)
	_, err = pool.Exec(ctx, `UPDATE fanmail.outbox SET leased_until = now()`)
	require.NoError(t, err)

	f := withoutBroker(t, pool, nil)
	got, err := f.Round(ctx)
	require.NoError(t, err)
	require.Equal(t, n, got)
	require.Zero(t, number(t, pool, inOutbox))
	require.Equal(t, n, number(t, pool, dueDeliveries))
	require.Equal(t, n, number(t, pool, distinctPairs))

	// The lease of a publisher that still runs does not hide a row either.
	insert(t, pool, tenant, n)
	leased, err = outbox.Lease(ctx, pool, n)
	require.NoError(t, err)
	require.Len(t, leased, n)
	got, err = f.Round(ctx)
	require.NoError(t, err)
	require.Equal(t, n, got)
	require.NoError(t, outbox.Release(ctx, pool, leased), "the publisher finds its rows gone")
	require.Zero(t, number(t, pool, inOutbox))
	require.Equal(t, 2*n, number(t, pool, distinctPairs))
}

// TestARowThatIsLeasedDuringARoundIsStillFannedOut has a publisher lease a row
// between the snapshot of the round's statement and its lock.
func TestARowThatIsLeasedDuringARoundIsStillFannedOut(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	insert(t, pool, tenant, 3)
	publisher, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = publisher.Rollback(context.Background()) }()
	_, err = outbox.Lease(ctx, publisher, 3)
	require.NoError(t, err)

	done := round(ctx, withoutBroker(t, pool, nil))
	locked(t, pool, 1)
	require.NoError(t, publisher.Commit(ctx))
	require.Equal(t, result{fannedOut: 3}, <-done)
	require.Zero(t, number(t, pool, inOutbox))
	require.Equal(t, 3, number(t, pool, deliveries))
}

// TestConcurrentRoundsCreateEachDeliveryOnce starts two rounds that both read the
// first batch before either of them can commit it.
func TestConcurrentRoundsCreateEachDeliveryOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	newWebhook(t, pool, tenant)
	const n = 1200
	insert(t, pool, tenant, n/2)
	insert(t, pool, tenant, n/2)
	lock, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = lock.Rollback(context.Background()) }()
	_, err = lock.Exec(ctx, `SELECT 1 FROM fanmail.outbox ORDER BY tenant_id, seq LIMIT 1 FOR UPDATE`)
	require.NoError(t, err)

	one, two := round(ctx, withoutBroker(t, pool, nil)), round(ctx, withoutBroker(t, pool, nil))
	locked(t, pool, 2)
	require.NoError(t, lock.Rollback(ctx))
	first, second := <-one, <-two
	require.NoError(t, errors.Join(first.err, second.err))
	require.Equal(t, n, first.fannedOut+second.fannedOut, "each event is counted by one round")
	require.Zero(t, number(t, pool, inOutbox))
	require.Equal(t, 2*n, number(t, pool, deliveries))
	require.Equal(t, 2*n, number(t, pool, distinctPairs))
}

// TestAnEventThatNoWebhookWantsLeavesTheOutbox has one tenant without webhooks
// beside a tenant with one.
func TestAnEventThatNoWebhookWantsLeavesTheOutbox(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	without, with := newTenant(t, pool), newTenant(t, pool)
	newWebhook(t, pool, with)
	insert(t, pool, without, 7)
	insert(t, pool, with, 2)
	got, err := withoutBroker(t, pool, nil).Round(t.Context())
	require.NoError(t, err)
	require.Equal(t, 9, got)
	require.Zero(t, number(t, pool, inOutbox))
	require.Equal(t, 2, number(t, pool, deliveries))
	require.Zero(t, number(t, pool, deliveries+` WHERE tenant_id <> $1`, with))
}

// TestARoundThatIsCutShortGoesOnWithTheNextCall ends the context during the second
// batch.
func TestARoundThatIsCutShortGoesOnWithTheNextCall(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant := newTenant(t, pool)
	newWebhook(t, pool, tenant)
	const n, batch = 800, 500
	last := insert(t, pool, tenant, n)
	lock, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = lock.Rollback(context.Background()) }()
	_, err = lock.Exec(ctx, `SELECT 1 FROM fanmail.outbox WHERE event_id = $1 FOR UPDATE`, last)
	require.NoError(t, err)

	f := withoutBroker(t, pool, nil)
	short, cut := context.WithCancel(ctx)
	done := round(short, f)
	locked(t, pool, 1)
	cut()
	got := <-done
	require.ErrorIs(t, got.err, context.Canceled)
	require.Equal(t, batch, got.fannedOut, "what was counted is committed")
	require.Equal(t, batch, number(t, pool, deliveries))
	require.Equal(t, n-batch, number(t, pool, inOutbox))

	require.NoError(t, lock.Rollback(ctx))
	rest, err := f.Round(ctx)
	require.NoError(t, err)
	require.Equal(t, n-batch, rest)
	require.Equal(t, n, number(t, pool, distinctPairs))
}

// result is what a call of Round returned.
type result struct {
	fannedOut int
	err       error
}

// round calls Round in a goroutine.
func round(ctx context.Context, f *fanout.Fanout) <-chan result {
	done := make(chan result, 1)
	go func() {
		n, err := f.Round(ctx)
		done <- result{n, err}
	}()
	return done
}
