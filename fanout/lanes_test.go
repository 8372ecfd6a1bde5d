package fanout_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// lanes record what the fan-out tells a dispatcher whose lane for one webhook
// is full, and which takes everything else.
type lanes struct {
	full events.WebhookID

	mu     sync.Mutex
	parked map[events.WebhookID]int
	fed    map[events.WebhookID]int
}

func (l *lanes) Full(w events.WebhookID) bool { return w == l.full }

func (l *lanes) Parked(w events.WebhookID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked[w]++
}

func (l *lanes) Feed(batch []subscribers.Leased) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		l.fed[batch[i].WebhookID]++
	}
	return nil
}

// TestRowsOfAFullLaneAreBornDue: they are not leased, nor offered, but told of
// after they are committed.
func TestRowsOfAFullLaneAreBornDue(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	tenant := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(ctx, `INSERT INTO tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(t, err)
	store := subscribers.NewStore(pool, subscribers.Limits{})
	webhook := func() events.WebhookID {
		w, _, err := store.Create(ctx, tenant, subscribers.Webhook{
			URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true,
		})
		require.NoError(t, err)
		return w.ID
	}
	l := &lanes{full: webhook(), parked: map[events.WebhookID]int{}, fed: map[events.WebhookID]int{}}
	roomy := webhook()

	log := zaptest.NewLogger(t)
	registry := subscribers.NewRegistry(pool, nc, log)
	require.NoError(t, registry.Load(ctx))
	done := make(chan error, 2)
	go func() { done <- outbox.NewRelay(pool, nc, js, outbox.RelayOptions{Log: log}).Run(ctx) }()
	go func() { done <- fanout.New(pool, js, registry, fanout.Options{Log: log, Lanes: l}).Run(ctx) }()
	const n = 20
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = events.Event{TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`{}`)}
	}
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := outbox.InsertMany(ctx, tx, evs)
		return err
	}))
	told := func(of map[events.WebhookID]int, w events.WebhookID) int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return of[w]
	}
	require.Eventually(t, func() bool { return told(l.parked, l.full) == n && told(l.fed, roomy) == n }, time.Minute, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.Zero(t, told(l.fed, l.full))
	require.Zero(t, told(l.parked, roomy))
	due := func(w events.WebhookID) (n int) {
		require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*) FROM webhook_subscriber_deliveries
			WHERE webhook_id = $1 AND status = 'pending' AND next_retry_at <= now()`, w).Scan(&n))
		return n
	}
	require.Equal(t, n, due(l.full))
	require.Zero(t, due(roomy), "these are leased")
}
