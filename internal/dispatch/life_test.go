package dispatch_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestFailuresAreRetriedFromTheTableUntilTheAttemptsAreUsedUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/bad")
	r.sink.Script("/bad", sink.Status(http.StatusTeapot))
	r.relay()
	r.dispatcher()
	r.insert(1)
	// 0, +1 m, +5 m, +15 m, +1 h, +4 h, +8 h, +16 h, each ±10 %.
	for i, minutes := range []float64{1, 5, 15, 60, 240, 480, 960} {
		v := r.until(w, func(v row) bool { return v.Attempts == i+1 })
		require.Equal(t, "pending", v.Status)
		require.Equal(t, http.StatusTeapot, *v.Code)
		require.Equal(t, "answered 418", *v.Error)
		require.InDelta(t, minutes*60, *v.NextIn, minutes*60*0.1+1, "after attempt %d", i+1)
		r.makeDue(w)
	}
	v := r.until(w, func(v row) bool { return v.Status == "failed" })
	require.Equal(t, subscribers.MaxAttempts, v.Attempts)
	require.True(t, v.Finished)
	require.Nil(t, v.NextIn)
	require.Equal(t, 8, r.sink.CountTo("/bad"))
	var logged int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_delivery_attempts WHERE status_code = 418 AND reason = 'status_4xx'`).Scan(&logged))
	require.Equal(t, 8, logged)
	ids := map[string]bool{}
	for i, p := range r.sink.PostsTo("/bad") {
		require.NoError(t, p.VerifyErr)
		require.Equal(t, i+1, p.Attempt)
		ids[p.DeliveryID+p.EventID] = true
	}
	require.Len(t, ids, 1, "every attempt carries the same ids")
}

func TestASuccessAfterAFailureIsFinalAndLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/flaky")
	r.sink.Script("/flaky", sink.FailFirst(1, sink.Answer{Status: http.StatusInternalServerError}))
	r.relay()
	r.dispatcher()
	r.insert(1)
	r.until(w, func(v row) bool { return v.Attempts == 1 })
	r.makeDue(w)
	v := r.until(w, func(v row) bool { return v.Status == "delivered" })
	require.Equal(t, 2, v.Attempts)
	require.Nil(t, v.Error)
	require.True(t, v.Delivered)
	var logged int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_delivery_attempts`).Scan(&logged))
	require.Equal(t, 2, logged, "the failure and the success after it")
}

func TestRetryAfterIsHeededAndGoneDisables(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	limited, long, gone := r.webhook("/limited"), r.webhook("/long"), r.webhook("/gone")
	r.sink.Script("/limited", sink.RetryAfter(http.StatusTooManyRequests, 7200))
	r.sink.Script("/long", sink.RetryAfter(http.StatusServiceUnavailable, 30*24*3600))
	r.sink.Script("/gone", sink.Status(http.StatusGone))
	r.relay()
	r.dispatcher()
	r.insert(1)
	v := r.until(limited, func(v row) bool { return v.Attempts == 1 })
	require.InDelta(t, 7200, *v.NextIn, 1)
	v = r.until(long, func(v row) bool { return v.Attempts == 1 })
	require.InDelta(t, 86400, *v.NextIn, 1, "up to a day")
	v = r.until(gone, func(v row) bool { return v.Status == "failed" })
	require.Equal(t, 1, v.Attempts)
	require.True(t, v.Disabled)
	var reason string
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT disabled_reason FROM fanmail.webhooks WHERE id = $1 AND auto_disabled_at IS NOT NULL`, gone).Scan(&reason))
	require.Contains(t, reason, "410")
}

func TestRedirectsAreFailuresAndNeverFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/from")
	r.sink.Script("/from", sink.Redirect(http.StatusTemporaryRedirect, r.sink.URL("/to")))
	r.relay()
	r.dispatcher()
	r.insert(1)
	v := r.until(w, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "pending", v.Status)
	require.Equal(t, http.StatusTemporaryRedirect, *v.Code)
	require.Contains(t, *v.Error, "not followed")
	require.Zero(t, r.sink.CountTo("/to"))
}

func TestADisabledWebhooksDeliveriesWaitAndFlowAtOnceWhenEnabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/w")
	hold := make(chan struct{})
	r.sink.Script("/w", sink.Hang(hold))
	r.set(w, "max_in_flight = 1")
	r.relay()
	r.dispatcher()
	r.insert(20)
	r.inserted(20)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	r.set(w, "enabled = false")
	// What was queued is released; it has used up no attempt.
	require.Eventually(t, func() bool {
		var due int
		err := r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE next_retry_at <= now() AND attempts = 0`).Scan(&due)
		return err == nil && due == 19
	}, 30*time.Second, 10*time.Millisecond)
	close(hold)
	r.settles(map[string]int{"delivered": 1, "pending": 19})
	require.Equal(t, 1, r.sink.Count())
	r.set(w, "enabled = true")
	r.settles(map[string]int{"delivered": 20})
	require.Equal(t, 20, r.sink.Count())
}

func TestAPausedWebhooksEventsWaitAndFlowWhenItIsResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/w", func(w *subscribers.Webhook) { w.MaxInFlight = 1 })
	strict := r.webhook("/strict", func(w *subscribers.Webhook) { w.Ordering = subscribers.OrderingStrict })
	hold := make(chan struct{})
	r.sink.Script("/w", sink.Hang(hold))
	r.relay()
	r.dispatcher()
	r.insert(1)
	require.NoError(t, r.sink.WaitForPath(r.ctx(), "/w", 1))
	require.NoError(t, r.sink.WaitForPath(r.ctx(), "/strict", 1))
	r.set(w, "paused_at = now()")
	r.set(strict, "paused_at = now()")
	r.insert(20)
	// Later events are fanned out, and nobody leases or attempts their deliveries.
	require.Eventually(t, func() bool {
		var waiting int
		err := r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries
			WHERE status = 'pending' AND NOT leased AND next_retry_at <= now() AND attempts = 0`).Scan(&waiting)
		return err == nil && waiting == 40
	}, time.Minute, 10*time.Millisecond)
	close(hold)
	r.settles(map[string]int{"delivered": 2, "pending": 40})
	require.Equal(t, 2, r.sink.Count())
	r.set(w, "paused_at = NULL")
	r.set(strict, "paused_at = NULL")
	r.settles(map[string]int{"delivered": 42})
	require.Equal(t, 42, r.sink.Count())
	require.True(t, slices.IsSorted(r.order("/strict")), "in commit order")
}

func TestADeletedWebhooksDeliveriesEndAsFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/w", func(w *subscribers.Webhook) { w.MaxInFlight = 1 })
	hold := make(chan struct{})
	r.sink.Script("/w", sink.Hang(hold))
	r.relay()
	r.dispatcher()
	r.insert(5)
	r.inserted(5)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	r.set(w, "deleted_at = now(), enabled = false")
	r.settles(map[string]int{"failed": 4, "pending": 1})
	close(hold)
	r.settles(map[string]int{"failed": 4, "delivered": 1})
	var text string
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT DISTINCT last_error FROM fanmail.webhook_subscriber_deliveries WHERE status = 'failed'`).Scan(&text))
	require.Equal(t, "the webhook was deleted", text)
	require.Equal(t, 1, r.sink.Count())
}

func TestTheInFlightCapHoldsAndTheRestWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/one", func(w *subscribers.Webhook) { w.MaxInFlight = 1 })
	r.webhook("/three", func(w *subscribers.Webhook) { w.MaxInFlight = 3 })
	for _, p := range []string{"/one", "/three"} {
		r.sink.Script(p, sink.Always(sink.Answer{Delay: 2 * time.Millisecond}))
	}
	r.relay()
	r.dispatcher()
	r.insert(150)
	r.settles(map[string]int{"delivered": 300})
	_, most := r.sink.InFlight("/one")
	require.Equal(t, 1, most)
	_, most = r.sink.InFlight("/three")
	require.LessOrEqual(t, most, 3)
	require.Greater(t, most, 1)
}

func TestHangingEndpointsDoNotHoldUpTheHealthy(t *testing.T) {
	t.Parallel()
	for name, fed := range map[string]bool{"in the same process": true, "through the broker": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hangBeside(t, fed)
		})
	}
}

func hangBeside(t *testing.T, fed bool) {
	r := newRig(t)
	// All of one partition, whose messages come one after the other.
	together := func(w *subscribers.Webhook) {
		for events.Partition(w.ID) != 0 {
			w.ID = events.NewRandom[events.WebhookKind]()
		}
	}
	hold := make(chan struct{})
	defer close(hold)
	const hanging = 10
	for i := range hanging {
		p := fmt.Sprintf("/hangs/%d", i)
		r.sink.Script(p, sink.Hang(hold))
		r.webhook(p, together)
	}
	r.webhook("/healthy", together)
	r.relay()
	r.replica(fed)
	// More than the lanes of the hanging ones take in.
	const n = 1100
	r.insert(n)
	require.NoError(t, r.sink.WaitForPath(r.ctx(), "/healthy", n))
	for i := range hanging {
		p := fmt.Sprintf("/hangs/%d", i)
		_, most := r.sink.InFlight(p) // on a busy machine they may have timed out by now
		require.Positive(t, most, "each was tried")
	}
}

func TestRowsWhoseMessageWasLostAreRescued(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/w")
	ids := r.insert(30)
	// Fanned out by a process that died before it published: rows, no
	// messages, leases run out.
	r.exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), e.created_at, $1, e.tenant_id, e.id, e.created_at, now(), e.created_at + interval '30 days', e.seq, 8, e.type FROM fanmail.events AS e`, w)
	r.exec(`DELETE FROM fanmail.outbox`)
	r.dispatcher()
	r.settles(map[string]int{"delivered": 30})
	require.Equal(t, len(ids), r.sink.Count())
}

func TestTheCatalogueOfHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/w")
	r.relay()
	r.dispatcher()
	ids := r.insert(1)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	h := r.sink.Posts(0)[0].Header
	require.Equal(t, "application/json", h.Get("Content-Type"))
	require.Equal(t, ids[0].String(), h.Get("webhook-id"))
	require.Equal(t, "1", h.Get(attempt.HeaderAttempt))
	_, err := events.Parse[events.DeliveryKind](h.Get(webhookrequest.HeaderDelivery))
	require.NoError(t, err)
}
