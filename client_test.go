package fanmail_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
)

const received = fanmail.EventType("email.received")

// add inserts an event of a tenant and commits it.
func add(t *testing.T, kit *fanmailtest.Kit, tenant fanmail.TenantID, data string) fanmail.EventID {
	t.Helper()
	var id fanmail.EventID
	require.NoError(t, pgx.BeginFunc(t.Context(), kit.Pool, func(tx pgx.Tx) (err error) {
		id, err = fanmail.Insert(t.Context(), tx, fanmail.Event{TenantID: tenant, Type: received, Data: json.RawMessage(data)})
		return err
	}))
	return id
}

// offline is a client without a broker on the kit's database.
func offline(t *testing.T, kit *fanmailtest.Kit) *fanmail.Client {
	t.Helper()
	c, err := fanmail.New(kit.Pool, nil, fanmail.Config{AllowHTTP: true, AllowNetworks: fanmailtest.Loopback()})
	require.NoError(t, err)
	return c
}

func TestNewNeedsAPoolAndNothingElse(t *testing.T) {
	t.Parallel()
	_, err := fanmail.New(nil, nil, fanmail.Config{})
	require.ErrorContains(t, err, "a pool is required")
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none")
	require.NoError(t, err)
	defer pool.Close()
	c, err := fanmail.New(pool, nil, fanmail.Config{})
	require.NoError(t, err, "it connects nothing")
	require.ErrorContains(t, c.Run(t.Context()), "needs a broker connection")
	_, err = c.CreateTenant(t.Context(), "acme")
	require.Error(t, err)
}

func TestMigrateMayBeCalledAgain(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	require.NoError(t, fanmail.Migrate(t.Context(), kit.Pool))
}

func TestTickDeliversWithoutABroker(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	c := offline(t, kit)
	hook := kit.CreateWebhook(t, received)
	// More than one batch of the fan-out.
	require.NoError(t, pgx.BeginFunc(t.Context(), kit.Pool, func(tx pgx.Tx) error {
		for range 1200 {
			if _, err := fanmail.Insert(t.Context(), tx, fanmail.Event{TenantID: kit.Tenant.ID, Type: received, Data: json.RawMessage(`{"subject":"hello"}`)}); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, c.Tick(t.Context()))
	require.Len(t, kit.Receiver.Requests(), 1200, "all that was due is sent when it returns")
	page, _, err := c.ListDeliveries(t.Context(), kit.Tenant.ID, hook.ID, fanmail.DeliveryFilter{Status: "delivered"}, fanmail.Cursor{}, 2000)
	require.NoError(t, err)
	require.Len(t, page, 1200, "and recorded")
	require.NoError(t, c.Tick(t.Context()))
	require.Len(t, kit.Receiver.Requests(), 1200, "a second Tick has nothing to send")
}

func TestTickLeavesALaterAttemptToItsTime(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	hook := kit.CreateWebhook(t, received)
	kit.Receiver.Respond(func(fanmailtest.Request) int { return http.StatusInternalServerError })
	add(t, kit, kit.Tenant.ID, `{}`)
	kit.Tick(t)
	kit.Tick(t)
	require.Len(t, kit.Receiver.Requests(), 1)
	page, _, err := kit.Client.ListDeliveries(t.Context(), kit.Tenant.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Equal(t, "pending", page[0].Status)
	require.Equal(t, 1, page[0].Attempts)
	require.True(t, page[0].NextRetryAt.After(time.Now()))
}

// TestTickBesideRun: two that deliver at once send nothing twice.
func TestTickBesideRun(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	kit.CreateWebhook(t, received)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- kit.Client.Run(ctx) }()
	for range 50 {
		add(t, kit, kit.Tenant.ID, `{}`)
		kit.Client.Wake()
	}
	require.NoError(t, offline(t, kit).Tick(t.Context()))
	require.Eventually(t, func() bool { return len(kit.Receiver.Requests()) >= 50 }, time.Minute, 10*time.Millisecond)
	stop()
	require.NoError(t, <-done)
	seen := map[string]bool{}
	for _, r := range kit.Receiver.Requests() {
		require.False(t, seen[r.DeliveryID], "sent twice")
		seen[r.DeliveryID] = true
	}
	require.Len(t, seen, 50)
}

func TestRunWaitsForASchemaThatFits(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	_, err := kit.Pool.Exec(t.Context(), `DELETE FROM fanmail.goose_db_version WHERE version_id > 0`)
	require.NoError(t, err)
	require.ErrorContains(t, kit.Client.Run(t.Context()), "fanmail.Migrate", "the error says what to call")
}

func TestTenantsNeverSeeEachOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kit := fanmailtest.New(t)
	c := kit.Client
	hook := kit.CreateWebhook(t, received)
	event := add(t, kit, kit.Tenant.ID, `{}`)
	kit.Tick(t)
	deliveries, _, err := c.ListDeliveries(ctx, kit.Tenant.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	replay, err := c.CreateReplay(ctx, kit.Tenant.ID, fanmail.ReplayRequest{Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayAll})
	require.NoError(t, err)

	_, err = c.CreateAgent(ctx, kit.Tenant.ID, "robot@example.com", "")
	require.NoError(t, err)

	other, err := c.CreateTenant(ctx, "other")
	require.NoError(t, err)
	for name, call := range map[string]func() error{
		"GetWebhook":          func() error { _, err := c.GetWebhook(ctx, other.ID, hook.ID); return err },
		"ChangeWebhook":       func() error { _, err := c.ChangeWebhook(ctx, other.ID, hook.ID, fanmail.WebhookChange{}); return err },
		"DeleteWebhook":       func() error { return c.DeleteWebhook(ctx, other.ID, hook.ID) },
		"RotateWebhookSecret": func() error { _, _, err := c.RotateWebhookSecret(ctx, other.ID, hook.ID, ""); return err },
		"TestWebhook":         func() error { _, err := c.TestWebhook(ctx, other.ID, hook.ID); return err },
		"GetStats":            func() error { _, _, err := c.GetStats(ctx, other.ID, hook.ID, time.Hour); return err },
		"ListDeliveries": func() error {
			_, _, err := c.ListDeliveries(ctx, other.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{}, 1)
			return err
		},
		"RetryWebhookDeliveries": func() error {
			_, _, err := c.RetryWebhookDeliveries(ctx, other.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{})
			return err
		},
		"GetDelivery":    func() error { _, _, _, err := c.GetDelivery(ctx, other.ID, deliveries[0].ID); return err },
		"RetryDelivery":  func() error { _, err := c.RetryDelivery(ctx, other.ID, deliveries[0].ID); return err },
		"GetEvent":       func() error { _, _, _, err := c.GetEvent(ctx, other.ID, event); return err },
		"RedeliverEvent": func() error { _, err := c.RedeliverEvent(ctx, other.ID, event, fanmail.WebhookID{}); return err },
		"GetReplay":      func() error { _, err := c.GetReplay(ctx, other.ID, replay.ID); return err },
		"CancelReplay":   func() error { _, err := c.CancelReplay(ctx, other.ID, replay.ID); return err },
		"CreateReplay": func() error {
			_, err := c.CreateReplay(ctx, other.ID, fanmail.ReplayRequest{WebhookID: hook.ID, Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayAll})
			return err
		},
		"PreviewReplay": func() error {
			_, err := c.PreviewReplay(ctx, other.ID, fanmail.ReplayRequest{WebhookID: hook.ID, Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayAll})
			return err
		},
		"GetAgent":    func() error { _, err := c.GetAgent(ctx, other.ID, "robot@example.com"); return err },
		"ChangeAgent": func() error { _, err := c.ChangeAgent(ctx, other.ID, "robot@example.com", ""); return err },
		"ChangeSenders": func() error {
			_, err := c.ChangeSenders(ctx, other.ID, "robot@example.com", fanmail.SenderRules{})
			return err
		},
		"DeleteAgent": func() error { return c.DeleteAgent(ctx, other.ID, "robot@example.com") },
	} {
		require.ErrorIs(t, call(), fanmail.ErrNotFound, name)
	}
	_, err = c.CreateAgent(ctx, other.ID, "Robot@example.com", "")
	require.ErrorIs(t, err, fanmail.ErrAddressTaken)
	hooks, _, err := c.ListWebhooks(ctx, other.ID, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Empty(t, hooks)
	events, _, err := c.ListEvents(ctx, other.ID, fanmail.EventFilter{}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Empty(t, events)
	replays, _, err := c.ListReplays(ctx, other.ID, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Empty(t, replays)
}

// The client refuses what the API refuses, and names the field.
func TestInputsThatCannotBeStoredAreRefusedByName(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kit := fanmailtest.New(t)
	c, tenant := kit.Client, kit.Tenant.ID
	past := time.Now().Add(-time.Hour)
	types := []fanmail.EventType{received}
	for _, bad := range []string{"a\x00b", "a\xffb"} {
		for want, call := range map[string]func() error{
			"name":    func() error { _, err := c.CreateTenant(ctx, bad); return err },
			"address": func() error { _, err := c.CreateAgent(ctx, tenant, bad+"@example.com", ""); return err },
			"url": func() error {
				_, err := c.CreateWebhook(ctx, tenant, fanmail.Webhook{URL: "https://example.com/" + bad, Events: types})
				return err
			},
			"description": func() error {
				_, err := c.CreateWebhook(ctx, tenant, fanmail.Webhook{URL: "https://example.com/", Events: types, Description: bad})
				return err
			},
			"filters.labels": func() error {
				_, err := c.CreateWebhook(ctx, tenant, fanmail.Webhook{URL: "https://example.com/", Events: types, Filters: fanmail.Filters{Labels: []string{bad}}})
				return err
			},
			"agent_ids": func() error {
				_, err := c.CreateReplay(ctx, tenant, fanmail.ReplayRequest{Since: past, Mode: fanmail.ReplayAll, AgentIDs: []string{bad}})
				return err
			},
		} {
			var field *fanmail.FieldError
			require.ErrorAs(t, call(), &field, "%q in %s", bad, want)
			require.Equal(t, want, field.Field)
		}
		_, _, err := c.ListEvents(ctx, tenant, fanmail.EventFilter{AgentID: bad}, fanmail.Cursor{}, 10)
		var field *fanmail.FieldError
		require.ErrorAs(t, err, &field)
		require.Equal(t, "agent_id", field.Field)
		_, err = c.GetAgent(ctx, tenant, bad+"@example.com")
		require.ErrorIs(t, err, fanmail.ErrNotFound)
	}
	for _, at := range []time.Time{time.Unix(-1<<40, 0), time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 10*60*60)), time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		var field *fanmail.FieldError
		_, err := c.CreateReplay(ctx, tenant, fanmail.ReplayRequest{Since: at, Mode: fanmail.ReplayAll})
		require.ErrorAs(t, err, &field, at)
		require.Equal(t, "since", field.Field)
		_, err = c.CreateReplay(ctx, tenant, fanmail.ReplayRequest{Since: past, Until: at, Mode: fanmail.ReplayAll})
		require.ErrorAs(t, err, &field, at)
		require.Equal(t, "until", field.Field)
		_, _, err = c.ListEvents(ctx, tenant, fanmail.EventFilter{Since: at, Until: at}, fanmail.Cursor{}, 10)
		require.NoError(t, err, "a bound that no event reaches is none")
		_, _, err = c.ListEvents(ctx, tenant, fanmail.EventFilter{}, fanmail.Cursor{CreatedAt: at}, 10)
		require.NoError(t, err)
	}
	replays, _, err := c.ListReplays(ctx, tenant, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Empty(t, replays)
}

func TestAWebhooksLife(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kit := fanmailtest.New(t)
	c, tenant := kit.Client, kit.Tenant.ID
	_, err := c.CreateWebhook(ctx, tenant, fanmail.Webhook{URL: "ftp://example.com", Events: []fanmail.EventType{received}})
	var field *fanmail.FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "url", field.Field)

	hook := kit.CreateWebhook(t, received)
	require.NotEmpty(t, hook.SigningSecret)
	read, err := c.GetWebhook(ctx, tenant, hook.ID)
	require.NoError(t, err)
	require.Empty(t, read.SigningSecret, "shown once")
	require.Equal(t, 1024, read.MaxInFlight)

	secret, until, err := c.RotateWebhookSecret(ctx, tenant, hook.ID, "")
	require.NoError(t, err)
	require.True(t, until.After(time.Now()))
	kit.Receiver.Verify("/", secret)
	test, err := c.TestWebhook(ctx, tenant, hook.ID)
	require.NoError(t, err)
	kit.Tick(t)
	require.Equal(t, test.ID.String(), kit.Receiver.Requests()[0].DeliveryID)

	off := false
	changed, err := c.ChangeWebhook(ctx, tenant, hook.ID, fanmail.WebhookChange{Enabled: &off})
	require.NoError(t, err)
	require.True(t, changed.Disabled)
	_, err = c.TestWebhook(ctx, tenant, hook.ID)
	require.ErrorIs(t, err, fanmail.ErrDisabled)
	all, each, err := c.GetStats(ctx, tenant, fanmail.WebhookID{}, time.Hour)
	require.NoError(t, err)
	require.Zero(t, all.Waiting)
	require.Len(t, each, 1)
	require.NoError(t, c.DeleteWebhook(ctx, tenant, hook.ID))
	_, err = c.GetWebhook(ctx, tenant, hook.ID)
	require.ErrorIs(t, err, fanmail.ErrNotFound)
}

// TestListsAreReadToTheirEnd walks each list by pages of two.
func TestListsAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kit := fanmailtest.New(t)
	c, tenant := kit.Client, kit.Tenant.ID
	hook := kit.CreateWebhook(t, received)
	for range 4 {
		kit.CreateWebhook(t, received)
		_, err := c.CreateTenant(ctx, "more")
		require.NoError(t, err)
		_, err = c.CreateReplay(ctx, tenant, fanmail.ReplayRequest{Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayMissed})
		require.NoError(t, err)
	}
	_, err := c.CreateReplay(ctx, tenant, fanmail.ReplayRequest{Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayMissed})
	require.NoError(t, err)
	for range 5 {
		add(t, kit, tenant, `{}`)
	}
	require.NoError(t, offline(t, kit).Tick(ctx))
	for name, list := range map[string]func(fanmail.Cursor) (int, fanmail.Cursor, error){
		"webhooks": func(at fanmail.Cursor) (int, fanmail.Cursor, error) {
			l, next, err := c.ListWebhooks(ctx, tenant, at, 2)
			return len(l), next, err
		},
		"tenants": func(at fanmail.Cursor) (int, fanmail.Cursor, error) {
			l, next, err := c.ListTenants(ctx, at, 2)
			return len(l), next, err
		},
		"replays": func(at fanmail.Cursor) (int, fanmail.Cursor, error) {
			l, next, err := c.ListReplays(ctx, tenant, at, 2)
			return len(l), next, err
		},
		"events": func(at fanmail.Cursor) (int, fanmail.Cursor, error) {
			l, next, err := c.ListEvents(ctx, tenant, fanmail.EventFilter{}, at, 2)
			return len(l), next, err
		},
		"deliveries": func(at fanmail.Cursor) (int, fanmail.Cursor, error) {
			l, next, err := c.ListDeliveries(ctx, tenant, hook.ID, fanmail.DeliveryFilter{}, at, 2)
			return len(l), next, err
		},
	} {
		total, pages := 0, 0
		for at := (fanmail.Cursor{}); ; {
			n, next, err := list(at)
			require.NoError(t, err, name)
			total, pages = total+n, pages+1
			if next == (fanmail.Cursor{}) {
				break
			}
			at = next
		}
		require.Equal(t, 5, total, name)
		require.GreaterOrEqual(t, pages, 3, name)
	}
}

// What is read in pieces, because an entry may be large, is one list.
func TestListsOfLargeEntriesAreWhole(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kit := fanmailtest.New(t)
	c, tenant := kit.Client, kit.Tenant.ID
	_, err := kit.Pool.Exec(ctx, `WITH a AS (
			INSERT INTO fanmail.agents (tenant_id, address, deny_senders) SELECT $1, 'large' || i || '@example.com', array_fill(repeat('x', 1000), ARRAY[200]) FROM generate_series(10, 29) AS i
		), r AS (
			INSERT INTO fanmail.replays (id, tenant_id, mode, types, agent_ids, since, until, state, phase, finished_at)
			SELECT gen_random_uuid(), $1, 'all', '{}', array_fill(repeat('x', 1000), ARRAY[200]), now() - interval '1 hour', now(), 'completed', 'done', now() FROM generate_series(1, 20)
		)
		INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret, filter_labels)
		SELECT gen_random_uuid(), $1, 'https://example.com', '{email.received}', '', array_fill(repeat('x', 1000), ARRAY[200]) FROM generate_series(1, 20)`, tenant)
	require.NoError(t, err)
	agents, err := c.ListAgents(ctx, tenant, "large11@example.com", 15)
	require.NoError(t, err)
	require.Len(t, agents, 15)
	require.Equal(t, "large26@example.com", agents[14].Address)
	agents, err = c.ListAgents(ctx, tenant, "large", 100)
	require.NoError(t, err)
	require.Len(t, agents, 20)
	hooks, next, err := c.ListWebhooks(ctx, tenant, fanmail.Cursor{}, 19)
	require.NoError(t, err)
	require.Len(t, hooks, 19)
	hooks, next, err = c.ListWebhooks(ctx, tenant, next, 19)
	require.NoError(t, err)
	require.Len(t, hooks, 1)
	require.Zero(t, next)
	seen := map[fanmail.ReplayID]bool{}
	for at := (fanmail.Cursor{}); len(seen) == 0 || at != (fanmail.Cursor{}); {
		var list []fanmail.Replay
		list, at, err = c.ListReplays(ctx, tenant, at, 100)
		require.NoError(t, err)
		for _, r := range list {
			seen[r.ID] = true
		}
	}
	require.Len(t, seen, 20)
}

func TestAnAgentsLife(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kit := fanmailtest.New(t)
	c, tenant := kit.Client, kit.Tenant.ID
	_, err := c.CreateAgent(ctx, tenant, "no address", "")
	var field *fanmail.FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "address", field.Field)
	_, err = c.CreateAgent(ctx, tenant, "a@example.com", "ftp://example.com")
	require.ErrorAs(t, err, &field)
	require.Equal(t, "webhook_url", field.Field)

	made, err := c.CreateAgent(ctx, tenant, "Robot@Example.com", "")
	require.NoError(t, err)
	require.Equal(t, "robot@example.com", made.Address)
	changed, err := c.ChangeAgent(ctx, tenant, made.Address, "https://hooks.example.com/own")
	require.NoError(t, err)
	require.Equal(t, "https://hooks.example.com/own", changed.WebhookURL)
	list, err := c.ListAgents(ctx, tenant, "", 10)
	require.NoError(t, err)
	require.Equal(t, []fanmail.Agent{changed}, list)
	ruled, err := c.ChangeSenders(ctx, tenant, "Robot@Example.com", fanmail.SenderRules{Allow: []string{"@Friend.example"}, Deny: []string{"*.spam.example"}, RequireDMARC: true})
	require.NoError(t, err)
	require.Equal(t, fanmail.SenderRules{Allow: []string{"@friend.example"}, Deny: []string{"*.spam.example"}, RequireDMARC: true}, ruled.Senders)
	require.Equal(t, changed.WebhookURL, ruled.WebhookURL)
	_, err = c.ChangeSenders(ctx, tenant, made.Address, fanmail.SenderRules{Deny: []string{"no address"}})
	require.ErrorContains(t, err, "deny_senders[0]")
	_, err = c.ChangeSenders(ctx, tenant, "nobody@example.com", fanmail.SenderRules{})
	require.ErrorIs(t, err, fanmail.ErrNotFound)
	ruled, err = c.ChangeSenders(ctx, tenant, made.Address, fanmail.SenderRules{})
	require.NoError(t, err)
	require.Equal(t, made.Senders, ruled.Senders)
	changed, err = c.ChangeAgent(ctx, tenant, made.Address, "")
	require.NoError(t, err)
	require.Empty(t, changed.WebhookURL)
	require.NoError(t, c.DeleteAgent(ctx, tenant, made.Address))
	_, err = c.GetAgent(ctx, tenant, made.Address)
	require.ErrorIs(t, err, fanmail.ErrNotFound)
}
