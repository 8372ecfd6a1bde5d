package dispatch

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
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
	return d, newDelivery(&leased[0], fromTable, &webhookrequest.HeadReader{})
}

func TestWhatWasLeasedForAPartitionThatWentIsDueAtOnce(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	ctx := writing(t, d)
	d.admitWaiting(ctx, q)
	require.NoError(t, d.outcomes.flush(ctx))
	var due bool
	require.NoError(t, d.pool.QueryRow(ctx, `SELECT next_retry_at <= now() FROM fanmail.webhook_subscriber_deliveries`).Scan(&due))
	require.True(t, due, "the new owner need not wait for the lease to run out")
}

// writing has the dispatcher write outcomes until the test ends.
func writing(t *testing.T, d *Dispatcher) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	var workers sync.WaitGroup
	workers.Go(func() { d.outcomes.run(ctx) })
	workers.Go(func() { d.settle(ctx) })
	t.Cleanup(func() { cancel(); workers.Wait() })
	return ctx
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
		r := p.post(context.Background(), e, q, q.Envelope)
		require.True(t, r.Stopped())
		require.Equal(t, attempt.ErrLeaseLost.Error(), r.Error)
		owner.Store(true)
		r = p.post(context.Background(), e, q, q.Envelope)
		require.True(t, r.Delivered, r.Error)
		owner.Store(false)
	}
	require.Equal(t, attempt.ErrLeaseLost.Error(), d.poster.post(context.Background(), e, q, q.Envelope).Error, "a dispatcher that owns nothing sends nothing")
	s.Close() // waits for what has arrived
	require.Equal(t, int32(2), arrived.Load(), "not even a header of the others")
}

// A row that has waited in its lane until its lease would end during the attempt
// is leased again first, and left alone where it has become another's.
func TestADeliveryIsSentUnderALeaseThatOutlivesTheAttempt(t *testing.T) {
	t.Parallel()
	s, arrived := receiver(t)
	d, q := stranger(t, s.URL)
	d.poster = newPoster(d.o, func() bool { return true })
	var all [events.Partitions]bool
	for p := range all {
		all[p] = true
	}
	partitions{d}.own(all)
	// ends sets when the row's lease runs out, and returns it.
	ends := func(in time.Duration) (lease int64) {
		t.Helper()
		sent := time.Now()
		var now, at time.Time
		require.NoError(t, d.pool.QueryRow(context.Background(), `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() + $1::interval
			RETURNING clock_timestamp(), next_retry_at`, in).Scan(&now, &at))
		d.clock.observe(sent, now)
		return at.UnixMicro()
	}
	offer := func(q *delivery) {
		t.Helper()
		a, _ := d.add(q)
		require.Equal(t, scheduler.Queued, a)
		partitions{d}.lease(time.Now().Add(time.Minute))
	}

	short := ends(AttemptTimeout - time.Second)
	q.Lease = short
	offer(q)
	require.False(t, d.outcomes.idle(), "its lease is to be renewed")
	require.Zero(t, d.inFlight(), "not under a lease that ends before the attempt may")
	ctx := writing(t, d)
	require.NoError(t, d.flushed(ctx))
	require.Greater(t, q.Lease, short+(subscribers.LeaseDuration/2).Microseconds())
	require.Equal(t, int32(1), arrived.Load(), "under the new one it is")

	_, err := d.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'pending', attempts = 0, finished_at = NULL, next_retry_at = now()`)
	require.NoError(t, err)
	second := *q
	second.Delivery = scheduler.Delivery{ID: q.ID, WebhookID: q.WebhookID, Envelope: q.Envelope, Payload: &second}
	second.Lease = ends(AttemptTimeout - time.Second)
	ends(time.Hour) // another has leased it since
	offer(&second)
	require.NoError(t, d.flushed(ctx))
	require.False(t, d.sched.Holds(second.ID))
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
	r := newPoster(off, valid).post(context.Background(), e, q, q.Envelope)
	require.Equal(t, attempt.ReasonRequest, r.Reason)
	require.Contains(t, r.Error, "Config.AllowHTTP")
	require.Zero(t, r.StatusCode)
	require.Zero(t, arrived.Load())
	r = newPoster(d.o, valid).post(context.Background(), e, q, q.Envelope)
	require.True(t, r.Delivered, r.Error)
	require.Equal(t, int32(1), arrived.Load())
}
