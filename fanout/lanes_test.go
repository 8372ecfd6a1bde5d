package fanout_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// lanes record the calls of the fan-out. The lane of one webhook is full; the others
// take every delivery.
type lanes struct {
	full events.WebhookID

	mu  sync.Mutex
	due map[events.WebhookID]int
	fed map[events.WebhookID]int
}

func (l *lanes) Owns(events.WebhookID) bool { return true }

func (l *lanes) Full(w events.WebhookID) bool { return w == l.full }

func (l *lanes) Rank() (int, <-chan struct{}) { return 0, nil }

func (l *lanes) Due(w events.WebhookID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due[w]++
}

func (l *lanes) Feed(batch []subscribers.Leased) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		l.fed[batch[i].WebhookID]++
	}
	return nil
}

// TestRowsOfAFullLaneAreInsertedDue also checks that they are announced after the
// commit, and neither leased nor offered.
func TestRowsOfAFullLaneAreInsertedDue(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	tenant := newTenant(t, pool)
	l := &lanes{full: newWebhook(t, pool, tenant), due: map[events.WebhookID]int{}, fed: map[events.WebhookID]int{}}
	roomy := newWebhook(t, pool, tenant)

	stopRelay, stopFanout := startRelay(t, pool, nc, js), fanOut(t, pool, nc, js, l)
	const n = 20
	insert(t, pool, tenant, n)
	count := func(of map[events.WebhookID]int, w events.WebhookID) int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return of[w]
	}
	require.Eventually(t, func() bool { return count(l.due, l.full) == n && count(l.fed, roomy) == n }, time.Minute, 10*time.Millisecond)
	stopRelay()
	stopFanout()
	require.Zero(t, count(l.fed, l.full))
	require.Zero(t, count(l.due, roomy))
	due := func(w events.WebhookID) (n int) {
		require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries
			WHERE webhook_id = $1 AND status = 'pending' AND next_retry_at <= now()`, w).Scan(&n))
		return n
	}
	require.Equal(t, n, due(l.full))
	require.Zero(t, due(roomy), "these are leased")
}
