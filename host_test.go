package fanmail_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
	"github.com/fanmail-dev/fanmail/internal/testdb"
	"github.com/fanmail-dev/fanmail/test/arch"
)

// TestFanmailLivesInAnothersDatabase: an application has tables of all of Fanmail's
// names, in public and in a schema that its search_path puts first.
func TestFanmailLivesInAnothersDatabase(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server, err := testdb.Private()
	require.NoError(t, err)
	url, drop, err := server.Empty(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, drop()) })
	setUp, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	foreign := foreignTables()
	for _, schema := range []string{"public", "hostile"} {
		_, err := setUp.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+schema)
		require.NoError(t, err)
		for _, table := range foreign {
			_, err := setUp.Exec(ctx, `CREATE TABLE `+schema+`.`+table+` (theirs text); INSERT INTO `+schema+`.`+table+` VALUES ('kept')`)
			require.NoError(t, err)
		}
		_, err = setUp.Exec(ctx, `CREATE SEQUENCE `+schema+`.outbox_seq;
			CREATE FUNCTION `+schema+`.make_partitions(date, integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE 'not Fanmail''s'; END $$;
			CREATE FUNCTION `+schema+`.bucket(timestamptz) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE 'not Fanmail''s'; END $$`)
		require.NoError(t, err)
	}
	_, err = setUp.Exec(ctx, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = hostile, public', current_database()); END $$`)
	require.NoError(t, err)
	require.NoError(t, setUp.Close(ctx))

	pool, err := pgxpool.New(ctx, url)
	require.NoError(t, err)
	defer pool.Close()
	require.NoError(t, fanmail.Migrate(ctx, pool))
	require.NoError(t, fanmail.Migrate(ctx, pool))
	liveIn(t, pool)

	for _, schema := range []string{"public", "hostile"} {
		for _, table := range foreign {
			var rows int
			var kept bool
			require.NoError(t, pool.QueryRow(ctx, `SELECT count(*), bool_and(theirs = 'kept') FROM `+schema+`.`+table).Scan(&rows, &kept), "%s.%s", schema, table)
			require.True(t, kept && rows == 1, "%s.%s was changed", schema, table)
		}
		var made int
		require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'p')`, schema).Scan(&made))
		require.Equal(t, len(foreign), made, "nothing was made in %s", schema)
	}
}

// foreignTables are the names of all of Fanmail's tables, and of today's
// partitions.
func foreignTables() []string {
	var names []string
	for _, o := range arch.Owners {
		names = append(names, o.Tables...)
	}
	day := time.Now().UTC().Format("20060102")
	return append(names, "events_"+day, "webhook_subscriber_deliveries_"+day)
}

// liveIn uses what an embedding program uses: every list, a delivery by Tick, a
// replay, maintenance, and a delivery by Run.
func liveIn(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	ctx := t.Context()
	var arrived atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	t.Cleanup(receiver.Close)
	kit := fanmailtest.New(t) // for its broker
	c, err := fanmail.New(pool, kit.NATS, fanmail.Config{AllowHTTP: true, AllowNetworks: fanmailtest.Loopback()})
	require.NoError(t, err)
	tenant, err := c.CreateTenant(ctx, "guest")
	require.NoError(t, err)
	_, err = c.CreateAgent(ctx, tenant.ID, "robot@example.com", "")
	require.NoError(t, err)
	hook, err := c.CreateWebhook(ctx, tenant.ID, fanmail.Webhook{URL: receiver.URL, Events: []fanmail.EventType{received}, Ordering: fanmail.OrderingStrict})
	require.NoError(t, err)
	insert := func(key string) {
		require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := fanmail.Insert(ctx, tx, fanmail.Event{TenantID: tenant.ID, Type: received, Data: json.RawMessage(`{}`), IdempotencyKey: key})
			return err
		}))
	}
	insert("one")
	insert("one")
	require.NoError(t, c.Tick(ctx))
	require.EqualValues(t, 1, arrived.Load())
	_, err = c.CreateReplay(ctx, tenant.ID, fanmail.ReplayRequest{Since: time.Now().Add(-time.Hour), Mode: fanmail.ReplayAll})
	require.NoError(t, err)
	require.NoError(t, c.Tick(ctx))
	require.EqualValues(t, 2, arrived.Load())
	deliveries, _, err := c.ListDeliveries(ctx, tenant.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, deliveries, 2)
	for _, d := range deliveries {
		_, _, _, err := c.GetDelivery(ctx, tenant.ID, d.ID)
		require.NoError(t, err)
	}
	listed, _, err := c.ListEvents(ctx, tenant.ID, fanmail.EventFilter{}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, listed, 1)
	_, _, err = c.GetStats(ctx, tenant.ID, fanmail.WebhookID{}, time.Hour)
	require.NoError(t, err)

	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- c.Run(running) }()
	insert("two")
	c.Wake()
	require.Eventually(t, func() bool { return arrived.Load() == 3 }, time.Minute, 10*time.Millisecond)
	stop()
	require.NoError(t, <-done)
	require.NoError(t, c.DeleteWebhook(ctx, tenant.ID, hook.ID))
}
