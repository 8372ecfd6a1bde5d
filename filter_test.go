package fanmail_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
)

// A value that nothing can have is refused, with the values that there are. An empty list would hide the mistake.
func TestAFilterThatCanMatchNothingIsRefused(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	ctx, c, tenant := t.Context(), kit.Client, kit.Tenant.ID
	hook, err := c.CreateWebhook(ctx, tenant, fanmail.Webhook{URL: kit.Receiver.URL("/in"), Events: []fanmail.EventType{"email.sent"}})
	require.NoError(t, err)
	past := time.Now().Add(-time.Hour)
	deliveries := func(f fanmail.DeliveryFilter) error {
		_, _, err := c.ListDeliveries(ctx, tenant, hook.ID, f, fanmail.Cursor{}, 10)
		return err
	}
	retries := func(f fanmail.DeliveryFilter) error {
		_, _, err := c.RetryWebhookDeliveries(ctx, tenant, hook.ID, f, fanmail.Cursor{})
		return err
	}
	list := func(f fanmail.EventFilter) error {
		_, _, err := c.ListEvents(ctx, tenant, f, fanmail.Cursor{}, 10)
		return err
	}
	replay := func(q fanmail.ReplayRequest) error {
		q.Since, q.Mode = past, fanmail.ReplayAll
		_, err := c.CreateReplay(ctx, tenant, q)
		return err
	}
	for name, r := range map[string]struct {
		err   error
		field string
		says  string
	}{
		"a delivery's status":       {deliveries(fanmail.DeliveryFilter{Status: "sent"}), "status", "pending, delivered, failed"},
		"its case":                  {deliveries(fanmail.DeliveryFilter{Status: "Failed"}), "status", "pending, delivered, failed"},
		"a delivery's type":         {deliveries(fanmail.DeliveryFilter{EventType: "email.eaten"}), "event_type", "email.received, email.sent"},
		"NUL":                       {deliveries(fanmail.DeliveryFilter{EventType: "email.\x00"}), "event_type", "email.received, email.sent"},
		"the status of retries":     {retries(fanmail.DeliveryFilter{Status: "sent"}), "status", "pending, delivered, failed"},
		"the type of retries":       {retries(fanmail.DeliveryFilter{EventType: "*"}), "event_type", "email.received, email.sent"},
		"an event's type":           {list(fanmail.EventFilter{Type: "email.eaten"}), "type", "email.received, email.sent"},
		"a replay's type":           {replay(fanmail.ReplayRequest{Types: []fanmail.EventType{""}}), "types[0]", "email.received, email.sent"},
		"a replay's empty agent":    {replay(fanmail.ReplayRequest{AgentIDs: []string{""}}), "agent_ids", "empty"},
		"one empty agent of others": {replay(fanmail.ReplayRequest{AgentIDs: []string{"a@example.com", ""}}), "agent_ids", "empty"},
	} {
		var fault *fanmail.FieldError
		require.ErrorAs(t, r.err, &fault, name)
		require.Equal(t, r.field, fault.Field, name)
		require.Contains(t, fault.Reason, r.says, name)
	}
	for _, status := range []string{"", "pending", "delivered", "failed"} {
		require.NoError(t, deliveries(fanmail.DeliveryFilter{Status: status, EventType: "email.sent"}))
	}
	require.NoError(t, retries(fanmail.DeliveryFilter{EventType: "email.sent"}))
	require.NoError(t, list(fanmail.EventFilter{Type: "webhook.disabled"}))
	require.NoError(t, replay(fanmail.ReplayRequest{}))
}

// A quota never undoes a program's transaction. What it inserts counts when it is fanned out, for its tenant alone.
func TestEventsOfAProgramCountAndAreNotRefused(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	ctx := t.Context()
	other, err := kit.Client.CreateTenant(ctx, "other")
	require.NoError(t, err)
	_, err = kit.Pool.Exec(ctx, `INSERT INTO fanmail.tenant_quotas (tenant_id, events_per_day, bytes_per_day) VALUES ($1, 1, 1)`, kit.Tenant.ID)
	require.NoError(t, err)
	insert := func(tenant fanmail.TenantID, key string, fail error) {
		err := pgx.BeginFunc(ctx, kit.Pool, func(tx pgx.Tx) error {
			_, err := fanmail.Insert(ctx, tx, fanmail.Event{TenantID: tenant, Type: "email.sent", Data: json.RawMessage(`{"n":1}`), IdempotencyKey: key})
			require.NoError(t, err)
			return fail
		})
		require.ErrorIs(t, err, fail)
	}
	uses := func(tenant fanmail.TenantID, events, bytes int) {
		require.NoError(t, kit.Client.Tick(ctx))
		var n, size int
		require.NoError(t, kit.Pool.QueryRow(ctx, `SELECT coalesce(sum(events), 0)::integer, coalesce(sum(bytes), 0)::integer
			FROM fanmail.tenant_usage WHERE tenant_id = $1`, tenant).Scan(&n, &size))
		require.Equal(t, []int{events, bytes}, []int{n, size})
	}
	for range 3 {
		insert(kit.Tenant.ID, "", nil)
	}
	insert(kit.Tenant.ID, "key", nil)
	insert(kit.Tenant.ID, "key", nil)          // no second event
	insert(kit.Tenant.ID, "", pgx.ErrTxClosed) // rolled back
	insert(other.ID, "", nil)
	uses(kit.Tenant.ID, 4, 4*7)
	uses(other.ID, 1, 7)
	insert(other.ID, "", nil)
	uses(other.ID, 2, 14)
	uses(kit.Tenant.ID, 4, 4*7)
}
