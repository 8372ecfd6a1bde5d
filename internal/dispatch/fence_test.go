package dispatch

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// stranger is a dispatcher that does not run, so that it owns nothing, and a
// row of one of its webhooks that it has under a lease.
func stranger(t *testing.T, url string) (*Dispatcher, *delivery) {
	t.Helper()
	ctx := context.Background()
	pool, err := pg.Open(ctx, pgtest.URL(t), 4)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	nc, js := natstest.Connect(t)
	tenant := events.NewRandom[events.TenantKind]()
	_, err = pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	w, _, err := subscribers.NewStore(pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: loopback}).Create(ctx, tenant, subscribers.Webhook{
		URL: url, Events: []events.Type{events.EmailReceived}, Enabled: true,
	})
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		VALUES (gen_random_uuid(), now(), $1, $2, gen_random_uuid(), now(), now(), now() + interval '30 days', 1, 8, 'email.received')`, w.ID, tenant)
	require.NoError(t, err)
	log := zaptest.NewLogger(t)
	registry := subscribers.NewRegistry(pool, nc, log)
	require.NoError(t, registry.Load(ctx))
	d, err := New(pool, nc, js, registry, Options{AllowHTTP: true, AllowNetworks: loopback, Log: log})
	require.NoError(t, err)
	leased, _, err := subscribers.FetchDue(ctx, pool, []subscribers.FetchRequest{{WebhookID: w.ID, Room: 1}})
	require.NoError(t, err)
	require.Len(t, leased, 1)
	leased[0].Envelope = []byte(`{"subject":"hello"}`)
	return d, &delivery{Leased: leased[0]}
}

func TestWhatWasLeasedForAPartitionThatWentIsDueAtOnce(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:1/")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ledger.run(ctx)
	}()
	d.enqueue(ctx, q)
	require.NoError(t, d.ledger.flushed(ctx))
	var due bool
	require.NoError(t, d.pool.QueryRow(ctx, `SELECT next_retry_at <= now() FROM fanmail.webhook_subscriber_deliveries`).Scan(&due))
	require.True(t, due, "the new owner need not wait for the lease to run out")
	cancel()
	<-done
}

// receiver answers 200, and counts a request when its header is there.
func receiver(t *testing.T) (s *httptest.Server, arrived *atomic.Int32) {
	t.Helper()
	arrived = new(atomic.Int32)
	s = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	t.Cleanup(s.Close)
	return s, arrived
}

func TestNothingIsSentOnceTheLeaseHasRunOut(t *testing.T) {
	t.Parallel()
	s, arrived := receiver(t)
	d, q := stranger(t, s.URL)
	var owner atomic.Bool
	p := newPoster(d.o, owner.Load)
	e := d.registry.Get(q.WebhookID)
	for range 2 { // on a new connection, and on one that is kept alive
		r := p.post(context.Background(), e, q)
		require.True(t, r.Stopped())
		require.Equal(t, attempt.ErrLeaseLost.Error(), r.Error)
		owner.Store(true)
		r = p.post(context.Background(), e, q)
		require.True(t, r.Delivered, r.Error)
		owner.Store(false)
	}
	require.Equal(t, attempt.ErrLeaseLost.Error(), d.poster.post(context.Background(), e, q).Error, "a dispatcher that owns nothing sends nothing")
	s.Close() // waits for what has arrived
	require.Equal(t, int32(2), arrived.Load(), "not even a header of the others")
}

// A row that has waited in its lane until its lease would end amid the attempt
// is leased anew first, and left alone where it has become another's.
func TestADeliveryIsSentUnderALeaseThatOutlivesTheAttempt(t *testing.T) {
	t.Parallel()
	s, arrived := receiver(t)
	d, q := stranger(t, s.URL)
	d.poster = newPoster(d.o, func() bool { return true })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ledger.run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	var all [events.Partitions]bool
	for p := range all {
		all[p] = true
	}
	d.sched.own(all)
	e := d.registry.Get(q.WebhookID)
	// ends says when the row's lease runs out, and gives that.
	ends := func(in time.Duration) (lease int64) {
		t.Helper()
		sent := time.Now()
		var now, at time.Time
		require.NoError(t, d.pool.QueryRow(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() + $1::interval
			RETURNING clock_timestamp(), next_retry_at`, in).Scan(&now, &at))
		d.clock.observe(sent, now)
		return at.UnixMicro()
	}
	begin := func() *delivery {
		t.Helper()
		next := d.sched.next()
		require.NotNil(t, next)
		return next
	}

	short := ends(AttemptTimeout - time.Second)
	q.Lease = short
	require.Equal(t, queued, d.sched.add(q, e))
	d.attempt(begin())
	require.NoError(t, d.ledger.flushed(ctx))
	require.Zero(t, arrived.Load(), "not under a lease that ends before the attempt may")
	require.Greater(t, q.Lease, short+(subscribers.LeaseDuration/2).Microseconds())
	d.attempt(begin())
	require.Equal(t, int32(1), arrived.Load(), "under the new one it is")
	require.NoError(t, d.ledger.flushed(ctx))

	_, err := d.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'pending', attempts = 0, finished_at = NULL, next_retry_at = now()`)
	require.NoError(t, err)
	again := &delivery{Leased: q.Leased}
	again.Lease = ends(AttemptTimeout - time.Second)
	require.Equal(t, queued, d.sched.add(again, e))
	ends(time.Hour) // another has leased it since
	d.attempt(begin())
	require.NoError(t, d.ledger.flushed(ctx))
	require.Nil(t, d.sched.next())
	require.False(t, d.sched.holds(again.ID))
	require.Equal(t, int32(1), arrived.Load(), "it is the other's to send")
}

// A webhook that was registered while plain HTTP was on gets nothing once it is
// off.
func TestPlainHTTPIsSentOnlyWhereTheOperatorAllowsIt(t *testing.T) {
	t.Parallel()
	s, arrived := receiver(t)
	d, q := stranger(t, s.URL)
	valid := func() bool { return true }
	e := d.registry.Get(q.WebhookID)
	off := d.o
	off.AllowHTTP = false
	r := newPoster(off, valid).post(context.Background(), e, q)
	require.Equal(t, attempt.ReasonRequest, r.Reason)
	require.Contains(t, r.Error, "FANMAIL_ALLOW_HTTP")
	require.Zero(t, r.StatusCode)
	require.Zero(t, arrived.Load())
	r = newPoster(d.o, valid).post(context.Background(), e, q)
	require.True(t, r.Delivered, r.Error)
	require.Equal(t, int32(1), arrived.Load())
}
