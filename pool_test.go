package fanmail_test

import (
	"context"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
)

// poolOf opens a pool on the kit's database after a change of its configuration.
func poolOf(t *testing.T, kit *fanmailtest.Kit, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg := kit.Pool.Config()
	change(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// TestAnyQueryModeWorks: an application chooses the query mode of its pool, such as
// exec or simple_protocol for a connection pooler.
func TestAnyQueryModeWorks(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		u, err := url.Parse(kit.DatabaseURL)
		require.NoError(t, err)
		q := u.Query()
		q.Set("default_query_exec_mode", mode)
		u.RawQuery = q.Encode()
		pool, err := pgxpool.New(t.Context(), u.String())
		require.NoError(t, err)
		t.Run(mode, func(t *testing.T) { callEverything(t, kit, pool) })
		pool.Close()
	}
}

// callEverything makes every call of a client on the pool, and two deliveries by Tick.
func callEverything(t *testing.T, kit *fanmailtest.Kit, pool *pgxpool.Pool) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, fanmail.Migrate(ctx, pool))
	c, err := fanmail.New(pool, nil, fanmail.Config{AllowHTTP: true, AllowNetworks: fanmailtest.Loopback()})
	require.NoError(t, err)
	tenant, err := c.CreateTenant(ctx, "acme")
	require.NoError(t, err)
	agent, err := c.CreateAgent(ctx, tenant.ID, tenant.ID.String()+"@example.com", "https://example.com/own")
	require.NoError(t, err)
	path := "/" + tenant.ID.String()
	hook, err := c.CreateWebhook(ctx, tenant.ID, fanmail.Webhook{
		URL: kit.Receiver.URL(path), Events: []fanmail.EventType{received}, Ordering: fanmail.OrderingStrict,
		Filters: fanmail.Filters{AgentIDs: []string{agent.Address}, Labels: []string{"a"}},
	})
	require.NoError(t, err)
	kit.Receiver.Verify(path, hook.SigningSecret)
	rate := 100
	_, err = c.ChangeWebhook(ctx, tenant.ID, hook.ID, fanmail.WebhookChange{RateLimit: &rate})
	require.NoError(t, err)
	secret, _, err := c.RotateWebhookSecret(ctx, tenant.ID, hook.ID, "")
	require.NoError(t, err)
	kit.Receiver.Verify(path, secret)

	ev := fanmail.Event{TenantID: tenant.ID, Type: received, AgentID: agent.Address, Labels: []string{"a", "b"}, Data: json.RawMessage(`{}`), IdempotencyKey: "key"}
	var first, second fanmail.EventID
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
		if first, err = fanmail.Insert(ctx, tx, ev); err != nil {
			return err
		}
		second, err = fanmail.Insert(ctx, tx, ev)
		return err
	}))
	require.Equal(t, first, second)
	_, err = c.TestWebhook(ctx, tenant.ID, hook.ID)
	require.NoError(t, err)
	require.NoError(t, c.Tick(ctx))

	delivery := callDeliveries(t, c, tenant.ID, hook.ID)
	_, err = c.RedeliverEvent(ctx, tenant.ID, first, fanmail.WebhookID{})
	require.NoError(t, err)
	callReads(t, c, tenant.ID, hook.ID, agent.Address, delivery.EventID)
	replay, err := c.CreateReplay(ctx, tenant.ID, fanmail.ReplayRequest{Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayAll, AgentIDs: []string{agent.Address}})
	require.NoError(t, err)
	_, err = c.GetReplay(ctx, tenant.ID, replay.ID)
	require.NoError(t, err)
	replays, _, err := c.ListReplays(ctx, tenant.ID, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, replays, 1)
	_, err = c.CancelReplay(ctx, tenant.ID, replay.ID)
	require.NoError(t, err)
	_, err = c.ChangeAgent(ctx, tenant.ID, agent.Address, "https://example.com/other")
	require.NoError(t, err)
	require.NoError(t, c.DeleteAgent(ctx, tenant.ID, agent.Address))
	require.NoError(t, c.DeleteWebhook(ctx, tenant.ID, hook.ID))
}

// callDeliveries lists, reads and retries the webhook's two deliveries.
func callDeliveries(t *testing.T, c *fanmail.Client, tenant fanmail.TenantID, hook fanmail.WebhookID) fanmail.Delivery {
	t.Helper()
	ctx := t.Context()
	f := fanmail.DeliveryFilter{Status: "delivered", EventType: received, Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}
	list, _, err := c.ListDeliveries(ctx, tenant, hook, f, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, list, 2)
	_, next, err := c.ListDeliveries(ctx, tenant, hook, fanmail.DeliveryFilter{}, fanmail.Cursor{}, 1)
	require.NoError(t, err)
	_, _, err = c.ListDeliveries(ctx, tenant, hook, fanmail.DeliveryFilter{}, next, 1)
	require.NoError(t, err)
	delivery, attempts, _, err := c.GetDelivery(ctx, tenant, list[0].ID)
	require.NoError(t, err)
	require.Len(t, attempts, 1)
	_, err = c.RetryDelivery(ctx, tenant, list[0].ID)
	require.ErrorIs(t, err, fanmail.ErrDelivered)
	_, _, err = c.RetryWebhookDeliveries(ctx, tenant, hook, fanmail.DeliveryFilter{}, fanmail.Cursor{})
	require.NoError(t, err)
	return delivery
}

// callReads makes the calls that only read.
func callReads(t *testing.T, c *fanmail.Client, tenant fanmail.TenantID, hook fanmail.WebhookID, agent string, event fanmail.EventID) {
	t.Helper()
	ctx := t.Context()
	_, _, err := c.ListTenants(ctx, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	_, err = c.GetAgent(ctx, tenant, agent)
	require.NoError(t, err)
	agents, err := c.ListAgents(ctx, tenant, "", 10)
	require.NoError(t, err)
	require.Len(t, agents, 1)
	got, err := c.GetWebhook(ctx, tenant, hook)
	require.NoError(t, err)
	require.Equal(t, []fanmail.EventType{received}, got.Events)
	hooks, _, err := c.ListWebhooks(ctx, tenant, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, hooks, 1)
	_, _, deliveries, err := c.GetEvent(ctx, tenant, event)
	require.NoError(t, err)
	require.NotEmpty(t, deliveries)
	list, _, err := c.ListEvents(ctx, tenant, fanmail.EventFilter{Type: received, AgentID: agent}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	_, _, err = c.GetStats(ctx, tenant, hook, time.Hour)
	require.NoError(t, err)
}

// TestTheEngineAcceptsAnyConnectionString: only the processes' own URL is limited to a
// list of server parameters.
func TestTheEngineAcceptsAnyConnectionString(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	u, err := url.Parse(kit.DatabaseURL)
	require.NoError(t, err)
	q := u.Query()
	q.Set("geqo", "off")
	u.RawQuery = q.Encode()
	cfg, err := pgxpool.ParseConfig(u.String())
	require.NoError(t, err)
	seen := make(chan string, 100)
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		seen <- c.RuntimeParams["geqo"]
		return nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	c, err := fanmail.New(pool, nil, fanmail.Config{})
	require.NoError(t, err)
	require.NoError(t, c.Tick(t.Context()))
	close(seen)
	for value := range seen {
		require.Equal(t, "off", value)
	}
}

// TestTheEngineKeepsWhatTheProgramSet: a program may set the password of its pool
// itself, so that the connection string has another one or none.
func TestTheEngineKeepsWhatTheProgramSet(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	seen := make(chan string, 100)
	c, err := fanmail.New(poolOf(t, kit, func(cfg *pgxpool.Config) {
		cfg.ConnConfig.Password = "set by the program"
		cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			seen <- c.Password
			return nil
		}
	}), nil, fanmail.Config{})
	require.NoError(t, err)
	require.NoError(t, c.Tick(t.Context()))
	close(seen)
	for password := range seen {
		require.Equal(t, "set by the program", password)
	}
}

// TestRunEndsWhereWaitingIsInVain: a closed broker connection never comes back.
func TestRunEndsWhereWaitingIsInVain(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	nc, err := nats.Connect(kit.NATS.ConnectedUrl())
	require.NoError(t, err)
	c, err := fanmail.New(kit.Pool, nc, fanmail.Config{AllowHTTP: true, AllowNetworks: fanmailtest.Loopback()})
	require.NoError(t, err)
	kit.CreateWebhook(t, received)
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	add(t, kit, kit.Tenant.ID, `{}`)
	require.Eventually(t, func() bool { return len(kit.Receiver.Requests()) == 1 }, time.Minute, 10*time.Millisecond)
	nc.Close()
	require.ErrorContains(t, <-done, "MaxReconnects(-1)", "closed under it")
	require.ErrorContains(t, c.Run(t.Context()), "MaxReconnects(-1)", "closed before")
}

func TestRunNeedsTheRightsOfTheOwner(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	_, err := kit.Pool.Exec(t.Context(), `CREATE ROLE fanmail_reader LOGIN`)
	require.NoError(t, err)
	as := func() *fanmail.Client {
		pool := poolOf(t, kit, func(cfg *pgxpool.Config) { cfg.ConnConfig.User = "fanmail_reader" })
		c, err := fanmail.New(pool, kit.NATS, fanmail.Config{})
		require.NoError(t, err)
		return c
	}
	require.ErrorContains(t, as().Run(t.Context()), "permission denied", "no rights at all")
	_, err = kit.Pool.Exec(t.Context(), `GRANT USAGE ON SCHEMA fanmail TO fanmail_reader; GRANT SELECT ON ALL TABLES IN SCHEMA fanmail TO fanmail_reader`)
	require.NoError(t, err)
	require.ErrorContains(t, as().Run(t.Context()), `the role "fanmail_reader" does not own the tables`, "it may only read")
	require.ErrorContains(t, as().Tick(t.Context()), `the role "fanmail_reader" does not own the tables`)
	_, err = kit.Pool.Exec(t.Context(), `DROP OWNED BY fanmail_reader; DROP ROLE fanmail_reader`)
	require.NoError(t, err)
}

// TestTickSaysWhatToCall: in a database without the schema.
func TestTickSaysWhatToCall(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	_, err := kit.Pool.Exec(t.Context(), `DROP SCHEMA fanmail CASCADE`)
	require.NoError(t, err)
	require.ErrorContains(t, offline(t, kit).Tick(t.Context()), "fanmail.Migrate")
}
