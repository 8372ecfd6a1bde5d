package dispatch_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// rounds returns a dispatcher without a broker.
func (r *rig) rounds() *dispatch.Dispatcher {
	r.t.Helper()
	registry := subscribers.NewRegistry(r.pool, nil, r.log)
	d, err := dispatch.New(r.pool, nil, nil, registry, dispatch.Options{
		Name: "rounds", AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Log: r.log,
	})
	require.NoError(r.t, err)
	return d
}

// rows inserts a due row of the webhook for each event.
func (r *rig) rows(w events.WebhookID) {
	r.t.Helper()
	r.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type, strict)
		SELECT gen_random_uuid(), e.created_at, $1, e.tenant_id, e.id, e.created_at, now(), e.created_at + interval '30 days', e.seq, 8, e.type, w.ordering = 'strict'
		FROM fanmail.events AS e, fanmail.webhooks AS w WHERE w.id = $1`, w)
}

func TestARoundAttemptsAllThatIsDueAndReturnsWhenItIsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 60
	many, failing, ordered := r.webhook("/many"), r.webhook("/failing"), r.webhook("/strict", strict)
	r.sink.Script("/failing", sink.Status(http.StatusBadRequest))
	r.insert(n, numbered(0))
	r.exec(`DELETE FROM fanmail.outbox`)
	r.rows(many)
	r.rows(ordered)
	r.exec(`DELETE FROM fanmail.events WHERE seq > (SELECT min(seq) + 4 FROM fanmail.events)`)
	r.rows(failing)
	d := r.rounds()
	require.NoError(t, d.Round(r.ctx()))
	got := r.statuses()
	require.Equal(t, 5, got["pending"], "the failed ones are due later: %v", got)
	require.Equal(t, 10, r.sink.CountTo("/many")+r.sink.CountTo("/strict"), "whose events are still kept")
	require.Equal(t, 2*n-10, got["failed"], "whose events are not")
	require.Equal(t, 5, r.sink.CountTo("/failing"))
	require.Equal(t, []int{0, 1, 2, 3, 4}, r.order("/strict"))
	require.Equal(t, map[string]int{"": events.Partitions}, r.owners(), "the partitions are free again")

	require.NoError(t, d.Round(r.ctx()), "nothing is due")
	require.Equal(t, 5, r.sink.CountTo("/failing"))
	r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE status = 'pending'`)
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, 10, r.sink.CountTo("/failing"))
	require.Equal(t, 2, r.rowOf(failing).Attempts)
}

func TestARoundLeavesWhatLanesHoldBackInTheTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	limited := r.webhook("/limited", func(w *subscribers.Webhook) { w.RateLimit = 1 })
	off := r.webhook("/off", func(w *subscribers.Webhook) { w.Enabled = false })
	busy := r.webhook("/busy", func(w *subscribers.Webhook) { w.MaxInFlight = 1 })
	r.sink.Script("/busy", sink.RetryAfter(http.StatusTooManyRequests, 60))
	r.insert(5)
	r.exec(`DELETE FROM fanmail.outbox`)
	for _, w := range []events.WebhookID{limited, off, busy} {
		r.rows(w)
	}
	require.NoError(t, r.rounds().Round(r.ctx()))
	require.LessOrEqual(t, r.sink.CountTo("/limited"), 2, "the rate of one a second")
	require.Positive(t, r.sink.CountTo("/limited"))
	require.Equal(t, 1, r.sink.CountTo("/busy"), "it asked to be left alone")
	require.Zero(t, r.sink.CountTo("/off"))
	var leased int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'pending' AND attempts = 0 AND next_retry_at > now()`).Scan(&leased))
	require.Zero(t, leased, "what was held back is due, not leased")
}

// busy makes Postgres slow in a search for rows, and slower in leasing them.
type busy struct{}

func (busy) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	took := 10 * time.Millisecond
	if strings.Contains(d.Batch.QueuedQueries[0].SQL, "SKIP LOCKED") {
		took = 500 * time.Millisecond
	}
	<-time.After(took)
	return ctx
}

func (busy) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (busy) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData)     {}
func (busy) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (busy) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

func TestAnEarlierEventThatIsNotFannedOutDoesNotBlockARound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	config := r.pool.Config()
	config.ConnConfig.Tracer = busy{}
	pool, err := pgxpool.NewWithConfig(r.ctx(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	r.pool = pool
	r.exec(`INSERT INTO fanmail.strict_tenants SELECT id FROM fanmail.tenants ON CONFLICT DO NOTHING`)
	w := r.webhook("/strict", strict)
	r.insert(3)
	r.rows(w)
	r.exec(`DELETE FROM fanmail.outbox WHERE seq > (SELECT min(seq) FROM fanmail.outbox)`)
	d := r.rounds()
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, 1, r.sink.Count(), "the line waits")
	r.exec(`DELETE FROM fanmail.outbox`)
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, 3, r.sink.Count())
}

func TestARoundThatIsCutShortReleasesWhatItHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	defer close(hold)
	r.sink.Script("/hangs", sink.Hang(hold))
	w := r.webhook("/hangs")
	r.insert(3)
	r.exec(`DELETE FROM fanmail.outbox`)
	r.rows(w)
	ctx, cancel := context.WithCancel(r.ctx())
	d := r.rounds()
	done := make(chan error, 1)
	go func() { done <- d.Round(ctx) }()
	require.NoError(t, r.sink.WaitFor(r.ctx(), 3))
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	var due int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'pending' AND attempts = 0 AND next_retry_at <= now()`).Scan(&due))
	require.Equal(t, 3, due)
	require.Equal(t, map[string]int{"": events.Partitions}, r.owners())
}
