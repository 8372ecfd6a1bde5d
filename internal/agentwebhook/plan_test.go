package agentwebhook

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestSearchAndClaimReadOnlyTheirRows runs both on a table with a history
// and an agent whose endpoint has been dead for 20,000 mails.
func TestSearchAndClaimReadOnlyTheirRows(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	rows := func(n int, agent, status string) {
		_, err := pool.Exec(ctx, `INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, next_retry_at, expires_at, max_attempts, status)
			SELECT gen_random_uuid(), now() - make_interval(secs => i * 0.1), gen_random_uuid(), $2 || i % 10 || '@example.com',
				CASE WHEN $3 = 'pending' THEN now() - make_interval(secs => i) END, now() + interval '48 hours', 8, $3 FROM generate_series(1, $1::int) AS i`, n, agent, status)
		require.NoError(t, err)
	}
	rows(100_000, "done", "delivered")
	rows(20_000, "dead", "pending")
	rows(100, "light", "pending")
	rec := pgplan.Open(t, url)
	for range 2 {
		rec.Reset()
		due, last, err := waiting(ctx, rec.Pool, "", 100)
		require.NoError(t, err)
		require.Len(t, due, 20, "ten dead agents and ten others")
		require.Empty(t, last)
		rec.Of(t, "FROM found LIMIT $2").Within(t, pgplan.Bound{Indexes: []string{"webhook_deliveries_due"}, Rows: 12 * 21, Blocks: 12 * 8 * 21})

		got, err := claim(ctx, rec.Pool, []string{"dead1@example.com", "light2@example.com"}, []int32{4, 1})
		require.NoError(t, err)
		require.Len(t, got, 5)
		for _, c := range got {
			require.Nil(t, c.url)
			require.Nil(t, c.envelope)
		}
		p := rec.Of(t, "AS w (agent_id, room)")
		require.Subset(t, p.Indexes(), []string{"webhook_deliveries_due", "webhook_deliveries_pkey"})
		require.LessOrEqual(t, p.Rows(), 40*len(got), "rows read:\n%s", p)
		_, err = pool.Exec(ctx, `ANALYZE fanmail.webhook_deliveries`)
		require.NoError(t, err)
	}
	rec.Reset()
	late, err := CountLate(ctx, rec.Pool, 15)
	require.NoError(t, err)
	require.Len(t, late, 15)
	require.Equal(t, 2000, late[0].Pending)
	require.Contains(t, late[0].Agent, "dead", "those that wait longest come first")
	rec.Of(t, "late AS MATERIALIZED").Within(t, pgplan.Bound{Indexes: []string{"webhook_deliveries_due"}, Rows: 2 * 21_000, Sorted: 100, Blocks: 2 * 21_000})
	due, last, err := waiting(ctx, rec.Pool, "", 7)
	require.NoError(t, err)
	require.Len(t, due, 7)
	require.Equal(t, due[6], last, "the next search goes on from here")
}

// TestListsReadABoundedPartOfTheHistory lists deliveries of an agent among many others, and of one with more deliveries of
// another status than one call reads.
func TestListsReadABoundedPartOfTheHistory(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	tenant := events.NewRandom[events.TenantKind]()
	rows := func(n int, agent, status string) {
		_, err := pool.Exec(ctx, `INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, next_retry_at, expires_at, max_attempts, status)
			SELECT gen_random_uuid(), now() - make_interval(secs => i * 0.1), $4, $2, CASE WHEN $3 = 'pending' THEN now() END, now() + interval '48 hours', 8, $3
			FROM generate_series(1, $1::int) AS i`, n, agent, status, tenant)
		require.NoError(t, err)
	}
	rows(60_000, "busy@example.com", "delivered")
	rows(ListScan+5_000, "one@example.com", "delivered")
	rec := pgplan.Open(t, url)
	for range 2 {
		rec.Reset()
		page, end, err := List(ctx, rec.Pool, tenant, "one@example.com", "", Place{}, 20)
		require.NoError(t, err)
		require.Len(t, page, 20)
		require.Zero(t, end)
		rec.Of(t, "LIMIT $5").Within(t, pgplan.Bound{Indexes: []string{"webhook_deliveries_history"}, Rows: 200, Blocks: 600})
		page, end, err = List(ctx, rec.Pool, tenant, "one@example.com", "failed", Place{}, 20)
		require.NoError(t, err)
		require.Empty(t, page)
		require.False(t, end.CreatedAt.IsZero(), "there is more to read")
		p := rec.Of(t, "WITH wanted")
		require.Subset(t, []string{"webhook_deliveries_history"}, p.Indexes())
		require.LessOrEqual(t, p.Rows(), 5*ListScan, "rows read:\n%s", p)
		page, end, err = List(ctx, rec.Pool, tenant, "one@example.com", "failed", end, 20)
		require.NoError(t, err)
		require.Empty(t, page)
		require.Zero(t, end)
		_, err = Get(ctx, rec.Pool, tenant, events.NewRandom[events.MessageKind]())
		require.ErrorIs(t, err, ErrNoDelivery)
		rec.Of(t, "WHERE message_id = $2").Within(t, pgplan.Bound{Indexes: []string{"webhook_deliveries_pkey"}, Rows: 10, Blocks: 100})
		_, err = pool.Exec(ctx, `ANALYZE fanmail.webhook_deliveries`)
		require.NoError(t, err)
	}
}
