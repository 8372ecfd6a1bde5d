package fanmail_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanmailtest"
)

// failing is a kit with deliveries that have failed once, and a switch that mends
// the receiver.
func failing(t *testing.T, n int) (kit *fanmailtest.Kit, hook fanmail.Webhook, mend func()) {
	t.Helper()
	kit = fanmailtest.New(t)
	var mended atomic.Bool
	kit.Receiver.Respond(func(fanmailtest.Request) int {
		if mended.Load() {
			return http.StatusOK
		}
		return http.StatusInternalServerError
	})
	hook = kit.CreateWebhook(t, received)
	for range n {
		add(t, kit, kit.Tenant.ID, `{}`)
	}
	kit.Tick(t)
	return kit, hook, func() { mended.Store(true) }
}

func deliveries(t *testing.T, kit *fanmailtest.Kit, hook fanmail.WebhookID, status string) []fanmail.Delivery {
	t.Helper()
	list, _, err := kit.Client.ListDeliveries(t.Context(), kit.Tenant.ID, hook, fanmail.DeliveryFilter{Status: status}, fanmail.Cursor{}, 100)
	require.NoError(t, err)
	return list
}

// exhaust uses up all attempts of the pending deliveries.
func exhaust(t *testing.T, kit *fanmailtest.Kit, hook fanmail.WebhookID) {
	t.Helper()
	for {
		pending := deliveries(t, kit, hook, "pending")
		if len(pending) == 0 {
			return
		}
		for _, d := range pending {
			_, err := kit.Client.RetryDelivery(t.Context(), kit.Tenant.ID, d.ID)
			require.NoError(t, err)
		}
		kit.Tick(t)
	}
}

func TestRetryDeliverySendsAtOnce(t *testing.T) {
	t.Parallel()
	kit, hook, mend := failing(t, 1)
	exhaust(t, kit, hook.ID)
	d := deliveries(t, kit, hook.ID, "failed")[0]
	require.Equal(t, d.MaxAttempts, d.Attempts)
	mend()
	again, err := kit.Client.RetryDelivery(t.Context(), kit.Tenant.ID, d.ID)
	require.NoError(t, err)
	require.Equal(t, "pending", again.Status)
	require.Equal(t, 2*d.MaxAttempts, again.MaxAttempts, "it has all its attempts again")
	kit.Tick(t)
	delivered := deliveries(t, kit, hook.ID, "delivered")
	require.Len(t, delivered, 1)
	require.Equal(t, d.ID, delivered[0].ID)
	require.Equal(t, d.Attempts+1, delivered[0].Attempts)
	_, err = kit.Client.RetryDelivery(t.Context(), kit.Tenant.ID, d.ID)
	require.ErrorIs(t, err, fanmail.ErrDelivered)
}

func TestRetryWebhookDeliveriesSendsAllThatFailed(t *testing.T) {
	t.Parallel()
	kit, hook, mend := failing(t, 3)
	exhaust(t, kit, hook.ID)
	mend()
	n, next, err := kit.Client.RetryWebhookDeliveries(t.Context(), kit.Tenant.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Zero(t, next)
	kit.Tick(t)
	require.Len(t, deliveries(t, kit, hook.ID, "delivered"), 3)
	n, _, err = kit.Client.RetryWebhookDeliveries(t.Context(), kit.Tenant.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{})
	require.NoError(t, err)
	require.Zero(t, n, "nothing is left to retry")
}

func TestRedeliverEventSendsTheSameEvent(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	kit.CreateWebhook(t, received)
	event := add(t, kit, kit.Tenant.ID, `{"n":1}`)
	kit.Tick(t)
	made, err := kit.Client.RedeliverEvent(t.Context(), kit.Tenant.ID, event, fanmail.WebhookID{})
	require.NoError(t, err)
	require.Len(t, made, 1)
	require.Equal(t, "replay", made[0].Kind)
	kit.Tick(t)
	got := kit.Receiver.Requests()
	require.Len(t, got, 2)
	require.Equal(t, got[0].EventID, got[1].EventID)
	require.Equal(t, got[0].Body, got[1].Body)
	require.Equal(t, made[0].ID.String(), got[1].DeliveryID)
}

func TestCancelReplaySendsNothingMore(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	kit.CreateWebhook(t, received)
	add(t, kit, kit.Tenant.ID, `{}`)
	kit.Tick(t)
	replay, err := kit.Client.CreateReplay(t.Context(), kit.Tenant.ID, fanmail.ReplayRequest{Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayAll})
	require.NoError(t, err)
	for range 2 {
		replay, err = kit.Client.CancelReplay(t.Context(), kit.Tenant.ID, replay.ID)
		require.NoError(t, err)
		require.Equal(t, "cancelling", replay.State)
	}
	kit.Tick(t)
	require.Len(t, kit.Receiver.Requests(), 1, "the replay sends nothing")
	replay, err = kit.Client.CancelReplay(t.Context(), kit.Tenant.ID, replay.ID)
	require.NoError(t, err)
	require.Equal(t, "cancelled", replay.State, "and it stays cancelled")
	require.NotNil(t, replay.FinishedAt)
}

// TestRunDrains: an attempt that is on the wire when ctx ends is finished and
// recorded, and Run returns nil.
func TestRunDrains(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	t.Cleanup(slow.Close)
	hook, err := kit.Client.CreateWebhook(t.Context(), kit.Tenant.ID, fanmail.Webhook{URL: slow.URL, Events: []fanmail.EventType{received}})
	require.NoError(t, err)
	add(t, kit, kit.Tenant.ID, `{}`)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- kit.Client.Run(ctx) }()
	<-arrived
	stop()
	select {
	case err := <-done:
		t.Fatalf("Run returned %v with a POST in flight", err)
	default:
	}
	close(release)
	require.NoError(t, <-done)
	require.Len(t, deliveries(t, kit, hook.ID, "delivered"), 1)
}

// TestBadArgumentsAreNamed: limits, windows, tenants and nil values.
func TestBadArgumentsAreNamed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kit := fanmailtest.New(t)
	c, tenant := kit.Client, kit.Tenant.ID
	hook := kit.CreateWebhook(t, received)
	for _, limit := range []int{0, -1, math.MinInt, 10_001, math.MaxInt} {
		for name, list := range map[string]func() error{
			"tenants":  func() error { _, _, err := c.ListTenants(ctx, fanmail.Cursor{}, limit); return err },
			"webhooks": func() error { _, _, err := c.ListWebhooks(ctx, tenant, fanmail.Cursor{}, limit); return err },
			"replays":  func() error { _, _, err := c.ListReplays(ctx, tenant, fanmail.Cursor{}, limit); return err },
			"events": func() error {
				_, _, err := c.ListEvents(ctx, tenant, fanmail.EventFilter{}, fanmail.Cursor{}, limit)
				return err
			},
			"deliveries": func() error {
				_, _, err := c.ListDeliveries(ctx, tenant, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{}, limit)
				return err
			},
			"agents": func() error { _, err := c.ListAgents(ctx, tenant, "", limit); return err },
		} {
			var field *fanmail.FieldError
			require.ErrorAs(t, list(), &field, "%s, limit %d", name, limit)
			require.Equal(t, "limit", field.Field)
		}
	}
	for _, window := range []time.Duration{0, -time.Hour, 31 * 24 * time.Hour} {
		var field *fanmail.FieldError
		_, _, err := c.GetStats(ctx, tenant, fanmail.WebhookID{}, window)
		require.ErrorAs(t, err, &field)
		require.Equal(t, "window", field.Field)
	}
	for _, nobody := range []fanmail.TenantID{{}, events.NewRandom[events.TenantKind]()} {
		_, err := c.CreateAgent(ctx, nobody, "robot@example.com", "")
		require.ErrorIs(t, err, fanmail.ErrNotFound)
	}
	require.ErrorContains(t, fanmail.Migrate(ctx, nil), "a pool is required")
	_, err := fanmail.Insert(ctx, nil, fanmail.Event{})
	require.ErrorContains(t, err, "a transaction is required")
}

func TestCreateWebhookLeavesTheCallersValuesAlone(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	_, err := kit.Client.CreateAgent(t.Context(), kit.Tenant.ID, "robot@example.com", "")
	require.NoError(t, err)
	agents := []string{"Robot@Example.com"}
	_, err = kit.Client.CreateWebhook(t.Context(), kit.Tenant.ID, fanmail.Webhook{
		URL: "https://example.com", Events: []fanmail.EventType{received}, Filters: fanmail.Filters{AgentIDs: agents},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"Robot@Example.com"}, agents)
}
