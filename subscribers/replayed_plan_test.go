package subscribers_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestEndedDeliveriesOfAReplayAreReadAlone looks for them beside a large history, and with
// more of the replay that ended long ago.
func TestEndedDeliveriesOfAReplayAreReadAlone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	id, created := events.NewRandom[events.ReplayKind](), time.Now().UTC().Truncate(time.Microsecond)
	rows := func(n int, replay any, ended string) {
		_, err := pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
				(id, created_at, webhook_id, tenant_id, event_id, event_created_at, expires_at, seq, max_attempts, event_type, status, kind, replay_id, finished_at)
			SELECT gen_random_uuid(), $2, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), $2, $2, i, 8, 'email.received', 'delivered',
				CASE WHEN $3::uuid IS NULL THEN 'live' ELSE 'replay' END, $3::uuid, `+ended+` FROM generate_series(1, $1::int) AS i`, n, created, replay)
		require.NoError(t, err)
	}
	rows(50_000, nil, "now()")
	rows(20_000, events.NewRandom[events.ReplayKind](), "now()")
	rows(20_000, id, "now() - interval '1 hour'")
	rows(30, id, "now()")
	rec := pgplan.Open(t, url)
	for range 2 {
		rec.Reset()
		got, err := subscribers.EndedOfReplay(ctx, rec.Pool, id, created, time.Now().Add(-time.Minute), 5000)
		require.NoError(t, err)
		require.Len(t, got, 30)
		bound := pgplan.Bound{Indexes: []string{"webhook_subscriber_deliveries_replayed"}, Rows: 60, Blocks: 200}
		rec.Of(t, "ORDER BY finished_at DESC").Within(t, bound)
		woken, err := subscribers.ReplaysWithEnded(ctx, rec.Pool, []events.ReplayID{id, events.NewRandom[events.ReplayKind]()},
			[]time.Time{created, created}, []time.Time{time.Now().Add(-time.Minute), time.Time{}.AddDate(1999, 0, 0)})
		require.NoError(t, err)
		require.Equal(t, []events.ReplayID{id}, woken)
		rec.Of(t, "AS w (id, created_at, after)").Within(t, bound)
		_, err = pool.Exec(ctx, `ANALYZE fanmail.webhook_subscriber_deliveries`)
		require.NoError(t, err)
	}
}
