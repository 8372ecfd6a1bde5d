package subscribers_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
)

func TestAnEventTellsWhyAWebhookDidNotGetIt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newTenantStore(t)
	_, err := s.pool.Exec(ctx, `INSERT INTO fanmail.agents (address, tenant_id) VALUES ('a@example.com', $1), ('b@example.com', $1)`, s.tenant)
	require.NoError(t, err)
	hooks := map[events.WebhookID]string{}
	create := func(name string, w subscribers.Webhook) events.WebhookID {
		w.URL, w.Enabled = "https://hooks.example.com/", true
		if w.Events == nil {
			w.Events = []events.Type{events.EmailReceived}
		}
		made, _, err := s.Create(ctx, s.tenant, w)
		require.NoError(t, err)
		hooks[made.ID] = name
		return made.ID
	}
	update := func(id events.WebhookID, p subscribers.Patch) {
		_, err := s.Update(ctx, s.tenant, id, p)
		require.NoError(t, err)
	}
	yes, no := true, false
	received, sent := []events.Type{events.EmailReceived}, []events.Type{events.EmailSent}
	agentsOf := func(address string) *subscribers.Filters { return &subscribers.Filters{AgentIDs: []string{address}} }

	delivered := create("delivered", subscribers.Webhook{})
	create("type", subscribers.Webhook{Events: sent})
	create("agent", subscribers.Webhook{Filters: *agentsOf("b@example.com")})
	create("conversation", subscribers.Webhook{Filters: subscribers.Filters{ConversationIDs: []string{"other"}}})
	create("label", subscribers.Webhook{Filters: subscribers.Filters{Labels: []string{"other"}}})
	data := create("data", subscribers.Webhook{Filters: subscribers.Filters{Data: []byte(`{"amount": {"lt": 5}, "kind": "order"}`)}})
	disabled := create("disabled", subscribers.Webhook{})
	disabledThen := create("disabled then", subscribers.Webhook{})
	changed, changedAway := create("changed", subscribers.Webhook{Events: sent}), create("changed away", subscribers.Webhook{Events: sent})
	deleted := create("deleted", subscribers.Webhook{Filters: *agentsOf("b@example.com")})
	gone := create("gone before", subscribers.Webhook{})
	disabledLater := create("disabled later", subscribers.Webhook{})
	create("unknown", subscribers.Webhook{})
	update(disabled, subscribers.Patch{Enabled: &no})
	update(disabledThen, subscribers.Patch{Enabled: &no})
	require.NoError(t, s.Delete(ctx, s.tenant, gone))

	var ev events.Record
	require.NoError(t, pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		ev, err = outbox.Log(ctx, tx, &events.Event{TenantID: s.tenant, Type: events.EmailReceived, AgentID: "a@example.com", ConversationID: "c", Labels: []string{"l"}, Data: []byte(`{"kind":"order","amount":5}`)})
		return err
	}))
	ref := subscribers.Ref{ID: events.DeriveDeliveryID(ev.ID, delivered, events.ReplayID{}, ev.CreatedAt), CreatedAt: ev.CreatedAt}
	b := &pgx.Batch{}
	subscribers.QueueInsert(b, []subscribers.NewDelivery{{Ref: ref, WebhookID: delivered, TenantID: s.tenant, EventID: ev.ID, EventType: ev.Type, Seq: ev.Seq, MaxAttempts: 8, Due: true}})
	require.NoError(t, s.pool.SendBatch(ctx, b).Close())

	create("later", subscribers.Webhook{})
	update(disabledThen, subscribers.Patch{Enabled: &yes})
	update(changed, subscribers.Patch{Events: &received})
	update(changedAway, subscribers.Patch{Filters: agentsOf("b@example.com")})
	update(disabledLater, subscribers.Patch{Enabled: &no})
	update(delivered, subscribers.Patch{Events: &sent})
	require.NoError(t, s.Delete(ctx, s.tenant, deleted))

	_, envelope, err := outbox.Find(ctx, s.pool, s.tenant, ev.ID)
	require.NoError(t, err)
	read := func(waiting, test bool, limit int) map[string]subscribers.Match {
		found := map[string]subscribers.Match{}
		var after subscribers.Place
		for {
			list, end, err := s.Matches(ctx, &ev, envelope, waiting, test, after, limit)
			require.NoError(t, err)
			for _, m := range list {
				require.NotContains(t, found, hooks[m.WebhookID])
				found[hooks[m.WebhookID]] = m
			}
			if end.CreatedAt.IsZero() {
				return found
			}
			after = end
		}
	}
	found := read(false, false, 100)
	require.Len(t, found, len(hooks)-1)
	require.NotContains(t, found, "gone before")
	require.Equal(t, ref.ID, found["delivered"].Delivery.ID)
	require.Empty(t, found["delivered"].Reason)
	for name, want := range map[string]struct {
		reason          string
		certain, wanted bool
	}{
		"type": {subscribers.ReasonType, true, false}, "agent": {subscribers.ReasonAgent, true, false},
		"conversation": {subscribers.ReasonConversation, true, false}, "label": {subscribers.ReasonLabel, true, false},
		"data":     {subscribers.ReasonData, true, false},
		"disabled": {subscribers.ReasonDisabled, true, false}, "disabled then": {subscribers.ReasonDisabled, true, true},
		"changed": {subscribers.ReasonChanged, false, true}, "changed away": {subscribers.ReasonType, false, false},
		"deleted": {subscribers.ReasonDeleted, false, false}, "disabled later": {subscribers.ReasonDisabled, false, false},
		"later": {subscribers.ReasonLater, true, true}, "unknown": {subscribers.ReasonUnknown, false, true},
	} {
		m := found[name]
		require.Nil(t, m.Delivery, name)
		require.Equal(t, want.reason, m.Reason, name)
		require.Equal(t, want.certain, m.Certain, name)
		require.Equal(t, want.wanted, m.Wanted, name)
		require.Equal(t, name == "deleted", m.DeletedAt != nil, name)
		require.Equal(t, !want.certain && name != "unknown", m.ChangedAt != nil, name)
		require.Contains(t, subscribers.Reasons(), m.Reason)
	}
	require.Equal(t, found, read(false, false, 3), "in pages")
	require.Equal(t, subscribers.ReasonWaiting, read(true, false, 100)["type"].Reason)
	require.Equal(t, subscribers.ReasonTest, read(false, true, 100)["type"].Reason)
	require.NotNil(t, read(true, false, 100)["delivered"].Delivery)

	// The first condition that the event does not meet is named, until the filter lets the event pass.
	require.Equal(t, `{"amount":{"lt":5}}`, found["data"].Condition)
	require.Empty(t, found["label"].Condition)
	update(data, subscribers.Patch{Filters: &subscribers.Filters{Data: []byte(`{"amount": {"lt": 4}}`)}})
	require.Equal(t, `{"amount":{"lt":4}}`, read(false, false, 100)["data"].Condition)
	require.False(t, read(false, false, 100)["data"].Certain, "the filter was another one then")
	update(data, subscribers.Patch{Filters: &subscribers.Filters{Data: []byte(`{"amount": {"lte": 5}}`)}})
	now := read(false, false, 100)["data"]
	require.Equal(t, subscribers.ReasonChanged, now.Reason)
	require.True(t, now.Wanted)
	require.Empty(t, now.Condition)
}

func TestTheWebhooksOfAnEventAreReadByIndex(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	ctx := t.Context()
	_, err := h.Pool.Exec(ctx, `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret, deleted_at)
		SELECT gen_random_uuid(), $1, 'https://x.example/', '{email.received}', '', CASE WHEN i % 2 = 0 THEN now() END FROM generate_series(1, 2000) AS i`, h.tenant)
	require.NoError(t, err)
	_, err = h.Pool.Exec(ctx, `ANALYZE fanmail.webhooks`)
	require.NoError(t, err)
	ev := events.Record{TenantID: h.tenant, ID: events.NewID(), Type: events.EmailReceived}
	require.NoError(t, h.Pool.QueryRow(ctx, `SELECT created_at, event_id FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1 ORDER BY created_at LIMIT 1`, h.hook).Scan(&ev.CreatedAt, &ev.ID))
	h.Reset()
	list, _, err := h.store.Matches(ctx, &ev, nil, false, false, subscribers.Place{}, 100)
	require.NoError(t, err)
	require.Len(t, list, 200)
	h.Of(t, "deleted_at IS NULL AND (created_at").Within(t, pgplan.Bound{Indexes: []string{"webhooks_tenant"}, Rows: 110, Blocks: 200})
	h.Of(t, "deleted_at >=").Within(t, pgplan.Bound{Indexes: []string{"webhooks_deleted"}, Rows: 110, Blocks: 200})
	h.Of(t, "kind = 'live' LIMIT 1").Within(t, pgplan.Bound{Indexes: []string{"webhook_subscriber_deliveries_history"}, Rows: 500, Blocks: 2000})
}
