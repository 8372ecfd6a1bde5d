package subscribers_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// engine tests the dispatcher's statements on a webhook and an event.
type engine struct {
	*tenantStore
	t    *testing.T
	hook subscribers.Webhook
	ev   events.ID
	at   time.Time
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	s := newTenantStore(t)
	e := &engine{tenantStore: s, t: t, hook: s.webhook(t)}
	require.NoError(t, pgx.BeginFunc(context.Background(), s.pool, func(tx pgx.Tx) error {
		done, err := outbox.InsertMany(context.Background(), tx, []events.Event{{TenantID: s.tenant, Type: events.EmailReceived, Data: json.RawMessage(`{"a":1}`)}})
		if err == nil {
			e.ev, e.at = done[0].ID, done[0].CreatedAt
		}
		return err
	}))
	return e
}

// rows inserts n deliveries of the event that are due at once.
func (e *engine) rows(w events.WebhookID, n int) {
	e.t.Helper()
	_, err := e.pool.Exec(context.Background(), `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), $4::timestamptz, $1, $2, $3, $4, now() - make_interval(secs => i), $4::timestamptz + interval '30 days', i, 8, 'email.received'
		FROM generate_series(1, $5::int) AS i`, w, e.tenant, e.ev, e.at, n)
	require.NoError(e.t, err)
}

func (e *engine) lease(n int) []subscribers.Leased {
	e.t.Helper()
	got, _, err := subscribers.FetchDue(context.Background(), e.pool, []subscribers.FetchRequest{{WebhookID: e.hook.ID, Room: n}})
	require.NoError(e.t, err)
	return got
}

func (e *engine) write(l subscribers.OutcomeBatch) subscribers.OutcomeResult {
	e.t.Helper()
	w, err := subscribers.WriteOutcomes(context.Background(), e.pool, &l)
	require.NoError(e.t, err)
	return w
}

func (e *engine) outcome(l subscribers.Leased, attempt int, delivered bool) subscribers.OutcomeBatch {
	o := subscribers.Outcome{Ref: l.Ref, WebhookID: l.WebhookID, Attempt: attempt, Delivered: delivered, StatusCode: 200, Retry: time.Minute}
	if !delivered {
		o.StatusCode, o.Error, o.Reason = 500, "answered 500", "status_5xx"
	}
	return subscribers.OutcomeBatch{Outcomes: []subscribers.Outcome{o}}
}

func (e *engine) state(id events.DeliveryID) (status string, attempts int) {
	e.t.Helper()
	require.NoError(e.t, e.pool.QueryRow(context.Background(), `SELECT status, attempts FROM fanmail.webhook_subscriber_deliveries WHERE id = $1`, id).Scan(&status, &attempts))
	return status, attempts
}

func TestTwoCallersNeverLeaseTheSameRow(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 400)
	var mu sync.Mutex
	seen := map[events.DeliveryID]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 400 { // as many as there are rows
				got, _, err := subscribers.FetchDue(context.Background(), e.pool, []subscribers.FetchRequest{{WebhookID: e.hook.ID, Room: 13}})
				if err != nil || len(got) == 0 {
					return
				}
				mu.Lock()
				for _, l := range got {
					seen[l.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for range 40 { // rows that a caller skipped because another had them locked
		for _, l := range e.lease(100) {
			seen[l.ID]++
		}
	}
	require.Len(t, seen, 400)
	for id, n := range seen {
		require.Equal(t, 1, n, "delivery %s", id)
	}
}

func TestALeaseCarriesTheEnvelopeAndLastsFiveMinutes(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 3)
	before := time.Now()
	got, next, err := subscribers.FetchDue(context.Background(), e.pool, []subscribers.FetchRequest{{WebhookID: e.hook.ID, Room: 2}})
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, []int64{2, 3}, []int64{got[0].Seq, got[1].Seq}, "those that have been due for longest")
	require.Contains(t, string(got[0].Envelope), `"data":{"a":1}`)
	require.WithinDuration(t, before.Add(5*time.Minute), time.UnixMicro(got[0].Lease), 30*time.Second)
	require.Less(t, next[e.hook.ID], before.UnixMicro(), "the third is still due")
	e.lease(10)
	_, next, err = subscribers.FetchDue(context.Background(), e.pool, []subscribers.FetchRequest{{WebhookID: e.hook.ID, Room: 2}})
	require.NoError(t, err)
	require.Equal(t, got[0].Lease, next[e.hook.ID], "nothing is due before the first lease ends")
}

// The row's message reaches a lane within seconds, or was lost.
func TestANewRowIsHiddenForHalfAMinute(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	e := newEngine(t)
	var rows []subscribers.NewDelivery
	for i := range 2 {
		rows = append(rows, subscribers.NewDelivery{
			Ref:       subscribers.Ref{ID: events.DeriveDeliveryID(e.ev, events.NewRandom[events.WebhookKind](), events.ReplayID{}, e.at), CreatedAt: e.at},
			WebhookID: e.hook.ID, TenantID: e.tenant, EventID: e.ev, EventType: events.EmailReceived, Seq: int64(i), Strict: i == 1,
		})
	}
	require.NoError(t, pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		subscribers.QueueInsert(b, rows)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		for i, want := range []float64{30, 0} { // a strict row has no message and is due at once
			var hidden float64
			err := tx.QueryRow(ctx, `SELECT extract(epoch FROM next_retry_at - now())::float8 FROM fanmail.webhook_subscriber_deliveries WHERE id = $1`, rows[i].ID).Scan(&hidden)
			require.NoError(t, err)
			require.InDelta(t, want, hidden, 0)
		}
		return nil
	}))
}

func TestAStaleFailureChangesNothingAndASuccessCountsWheneverItComes(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 1)
	l := e.lease(1)[0]
	w := e.write(e.outcome(l, 1, false))
	require.Contains(t, w.Next, l.ID)
	status, attempts := e.state(l.ID)
	require.Equal(t, "pending", status)
	require.Equal(t, 1, attempts)

	// The same attempt again, from an owner that had lost the partition.
	w = e.write(e.outcome(l, 1, false))
	require.Empty(t, w.Next)
	_, attempts = e.state(l.ID)
	require.Equal(t, 1, attempts)

	w = e.write(e.outcome(l, 1, true))
	require.Zero(t, w.Stale)
	status, attempts = e.state(l.ID)
	require.Equal(t, "delivered", status)
	require.Equal(t, 2, attempts)

	for _, late := range []bool{true, false} {
		w = e.write(e.outcome(l, 3, late))
		require.Equal(t, 1, w.Stale)
		require.Empty(t, w.Next)
		status, attempts = e.state(l.ID)
		require.Equal(t, "delivered", status, "nothing overwrites a final row")
		require.Equal(t, 2, attempts)
	}
}

func TestASuccessAndItsWebhooksTimeAreOneTransaction(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	e := newEngine(t)
	e.rows(e.hook.ID, 1)
	l := e.lease(1)[0]
	e.exec(t, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$`)
	e.exec(t, `CREATE TRIGGER refuse BEFORE UPDATE OF last_delivered_at ON fanmail.webhooks FOR EACH ROW EXECUTE FUNCTION refuse()`)
	batch := e.outcome(l, 1, true)
	batch.Touch = []events.WebhookID{e.hook.ID}
	_, err := subscribers.WriteOutcomes(ctx, e.pool, &batch)
	require.ErrorContains(t, err, "not now")
	status, attempts := e.state(l.ID)
	require.Equal(t, "pending", status)
	require.Zero(t, attempts)

	e.exec(t, `DROP TRIGGER refuse ON fanmail.webhooks`)
	e.write(batch)
	var same bool
	require.NoError(t, e.pool.QueryRow(ctx, `SELECT d.status = 'delivered' AND d.attempts = 1 AND d.last_status_code = 200 AND d.last_attempt_at = w.last_delivered_at
		FROM fanmail.webhook_subscriber_deliveries AS d JOIN fanmail.webhooks AS w ON w.id = d.webhook_id`).Scan(&same))
	require.True(t, same)
}

func TestConcurrentFailuresAreCountedRight(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 1)
	l := e.lease(1)[0]
	for attempt := 1; attempt <= subscribers.MaxAttempts; attempt++ {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				_, _ = subscribers.WriteOutcomes(context.Background(), e.pool, ptr(e.outcome(l, attempt, false)))
			})
		}
		wg.Wait()
		status, attempts := e.state(l.ID)
		require.Equal(t, attempt, attempts)
		require.Equal(t, attempt == subscribers.MaxAttempts, status == "failed")
		if attempt > 1 {
			require.Equal(t, 1, e.write(e.outcome(l, attempt-1, false)).Stale, "the attempt before it arrives late")
			_, attempts = e.state(l.ID)
			require.Equal(t, attempt, attempts)
		}
	}
	var logged int
	require.NoError(t, e.pool.QueryRow(context.Background(), `SELECT count(DISTINCT attempt) FROM fanmail.webhook_delivery_attempts`).Scan(&logged))
	require.Equal(t, subscribers.MaxAttempts, logged)
}

func ptr[T any](v T) *T { return &v }

func TestOnlyTheHolderOfALeaseRenewsOrReleases(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 1)
	l := e.lease(1)[0]
	stranger := subscribers.Lease{Ref: l.Ref, Lease: l.Lease - 1}
	w := e.write(subscribers.OutcomeBatch{Renew: []subscribers.Lease{stranger}, Release: []subscribers.Lease{stranger}})
	require.Empty(t, w.Renewed)
	require.Empty(t, e.lease(1), "still leased")
	w = e.write(subscribers.OutcomeBatch{Renew: []subscribers.Lease{{Ref: l.Ref, Lease: l.Lease}}})
	require.Greater(t, w.Renewed[l.ID], l.Lease)
	e.write(subscribers.OutcomeBatch{Release: []subscribers.Lease{{Ref: l.Ref, Lease: w.Renewed[l.ID]}}})
	again := e.lease(1)
	require.Len(t, again, 1)
	require.Zero(t, again[0].Attempts, "a release uses up no attempt")
}

// The first attempt of a delivery has no row of its own if it succeeds.
func TestASuccessHasAReasonOfTheClosedSet(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	d, err := e.InsertTest(context.Background(), e.tenant, e.hook.ID, subscribers.TestEvent{})
	require.NoError(t, err)
	e.write(e.outcome(e.lease(1)[0], 1, true))
	_, attempts, _, err := e.GetDelivery(context.Background(), e.tenant, d.ID)
	require.NoError(t, err)
	require.Len(t, attempts, 1)
	require.Equal(t, attempt.ReasonOK, attempts[0].Reason)
}

func TestEndingWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.rows(e.hook.ID, 1)
	l := e.lease(1)[0]
	e.write(subscribers.OutcomeBatch{Outcomes: []subscribers.Outcome{{Ref: l.Ref, WebhookID: l.WebhookID, Unsent: true, Error: "the webhook was deleted", Reason: "webhook_deleted"}}})
	status, attempts := e.state(l.ID)
	require.Equal(t, "failed", status)
	require.Zero(t, attempts)
	var logged int
	require.NoError(t, e.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_delivery_attempts`).Scan(&logged))
	require.Zero(t, logged)
}

func TestFindPendingFindsEveryWebhookWithPendingRows(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	want := []string{}
	for range 60 {
		w := events.NewRandom[events.WebhookKind]()
		e.rows(w, 3)
		want = append(want, w.String())
	}
	edges := make([]events.WebhookID, 3)
	edges[0][15] = 1 // the lowest id that is not zero
	for i := range edges[2] {
		edges[2][i] = 0xff
	}
	for _, w := range []events.WebhookID{edges[0], edges[2]} {
		e.rows(w, 1)
		want = append(want, w.String())
	}
	_, err := e.pool.Exec(context.Background(), `UPDATE fanmail.webhook_subscriber_deliveries SET strict = true WHERE webhook_id = $1`, edges[2])
	require.NoError(t, err)
	var got []string
	for p := range events.Partitions {
		found, err := subscribers.FindPending(context.Background(), e.pool, p)
		require.NoError(t, err)
		for _, f := range found {
			require.Equal(t, p, events.Partition(f.WebhookID))
			require.Equal(t, f.WebhookID == edges[2], f.Strict)
			require.LessOrEqual(t, f.Next, time.Now().UnixMicro())
			got = append(got, f.WebhookID.String())
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
}

func TestTheRegistrySeesWhatWasCommittedBeforeAndMissesNoLateCommitter(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	e := newEngine(t)
	r := subscribers.NewRegistry(e.pool, nil, zaptest.NewLogger(t))
	require.NoError(t, r.Load(ctx))
	require.NotNil(t, r.Get(e.hook.ID))

	// A transaction that began before another one committed, and commits after it.
	slow, err := e.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = slow.Exec(ctx, `UPDATE fanmail.webhooks SET url = 'https://slow.example.com/' WHERE id = $1`, e.hook.ID)
	require.NoError(t, err)
	other := e.webhook(t)
	require.NoError(t, r.Load(ctx))
	require.NotNil(t, r.Get(other.ID))
	require.NoError(t, slow.Commit(ctx))
	require.NoError(t, r.Load(ctx))
	require.Equal(t, "https://slow.example.com/", r.Get(e.hook.ID).URL)

	var changed []events.WebhookID
	r.Watch(func(w *subscribers.Entry) { changed = append(changed, w.ID) })
	require.NoError(t, r.Load(ctx))
	off := false
	_, err = e.Update(ctx, e.tenant, other.ID, subscribers.Patch{Enabled: &off})
	require.NoError(t, err)
	require.NoError(t, r.Load(ctx))
	require.Equal(t, []events.WebhookID{other.ID}, changed, "only what changed")
	got := r.Match(nil, &events.Record{TenantID: e.tenant, Type: events.EmailReceived}, nil)
	require.Len(t, got, 1)
	require.Equal(t, e.hook.ID, got[0].ID, "a disabled webhook matches nothing")
	require.Empty(t, r.Match(nil, &events.Record{TenantID: events.NewRandom[events.TenantKind](), Type: events.EmailReceived}, nil), "nor does another tenant's event")
	require.NoError(t, e.Delete(ctx, e.tenant, e.hook.ID))
	require.NoError(t, r.Load(ctx))
	require.Empty(t, r.Match(nil, &events.Record{TenantID: e.tenant, Type: events.EmailReceived}, nil))
	require.True(t, r.Get(e.hook.ID).Deleted)

	// It stays in memory as long as its row, and no longer.
	require.NoError(t, r.Forget(ctx, 0))
	require.True(t, r.Get(e.hook.ID).Deleted)
	_, err = e.pool.Exec(ctx, `DELETE FROM fanmail.webhooks WHERE deleted_at IS NOT NULL`)
	require.NoError(t, err)
	require.NoError(t, r.Forget(ctx, time.Hour))
	require.NotNil(t, r.Get(e.hook.ID), "a read from before the removal may be under way")
	require.NoError(t, r.Forget(ctx, 0))
	require.Nil(t, r.Get(e.hook.ID))
	require.NotNil(t, r.Get(other.ID))
}

func TestFiltersAreAndAcrossKeysAndOrWithinOne(t *testing.T) {
	t.Parallel()
	matches := func(f subscribers.Filters, agent, conversation string, labels []string) bool {
		w := subscribers.NewTakers(&subscribers.Entry{Events: []events.Type{events.EmailReceived}, Filters: f})
		return len(w.Match(nil, &events.Record{Type: events.EmailReceived, AgentID: agent, ConversationID: conversation, Labels: labels}, nil)) == 1
	}
	f := subscribers.Filters{AgentIDs: []string{"a", "b"}, Labels: []string{"x", "y"}}
	require.True(t, matches(f, "b", "", []string{"z", "y"}))
	require.False(t, matches(f, "c", "", []string{"x"}))
	require.False(t, matches(f, "a", "", nil), "a filter on what the event lacks does not match")
	require.False(t, matches(f, "", "", []string{"x"}))
	require.True(t, matches(subscribers.Filters{}, "", "", nil))
	talk := subscribers.Filters{ConversationIDs: []string{"c"}}
	require.True(t, matches(talk, "", "c", nil))
	require.False(t, matches(talk, "", "", nil))
}

func TestRetentionExpiresWhatIsPendingAndThenDropsTheDay(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool := pgtest.Pool(t)
	exec := func(sql string, args ...any) {
		t.Helper()
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err)
	}
	exec(`SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 100, 101)`)
	for _, days := range []int{35, 33, 30, 10} {
		exec(`INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
			SELECT gen_random_uuid(), t, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), t, now(), t + interval '30 days', 1, 8, 'email.received'
			FROM (SELECT now() - make_interval(days => $1, mins => 1) AS t) AS at`, days)
	}
	// kept returns the first day that is kept. There are two if the test runs past midnight.
	kept := func() (day time.Time) {
		t.Helper()
		require.NoError(t, pool.QueryRow(ctx, `SELECT (now() AT TIME ZONE 'UTC')::date - 31`).Scan(&day))
		return day
	}
	days := []time.Time{kept()}
	rules := slices.Concat(subscribers.RetentionRules(retention.Policy{}), mailbox.RetentionRules(retention.Policy{}), outbox.RetentionRules(retention.Policy{}))
	r, err := retention.Run(ctx, pool, rules)
	require.NoError(t, err)
	days = append(days, kept())
	require.Equal(t, int64(3), r.Rows[subscribers.ExpirePending])
	require.Positive(t, r.Dropped)
	var pending, expired int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'failed' AND last_error = 'expired') FROM fanmail.webhook_subscriber_deliveries`).Scan(&pending, &expired))
	require.Equal(t, 1, pending)
	require.Equal(t, 1, expired, "the partition is dropped a day after the 30, so that what expired yesterday can still be read")
	for _, table := range []string{"webhook_subscriber_deliveries", "webhook_delivery_attempts", "messages", "message_raws", "events"} {
		var oldest time.Time
		require.NoError(t, pool.QueryRow(ctx, `SELECT min(to_date(right(c.relname, 8), 'YYYYMMDD')) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
			WHERE i.inhparent = ('fanmail.' || $1)::regclass`, table).Scan(&oldest))
		require.Contains(t, days, oldest, table)
	}
	for _, table := range []string{"event_keys", "conversation_keys"} {
		var first, present int
		require.NoError(t, pool.QueryRow(ctx, `SELECT min(split_part(c.relname, '_', 3)::integer), fanmail.bucket(now())
			FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = ('fanmail.' || $1)::regclass`, table).Scan(&first, &present))
		require.Equal(t, present-1, first, "%s keeps the bucket before the present one", table)
	}
	again, err := retention.Run(ctx, pool, rules)
	require.NoError(t, err)
	require.Zero(t, again.Dropped)
	require.Empty(t, again.Rows)
}

// The attempt was on its way when the webhook was deleted.
func TestDeletingAWebhookLeavesTheOutcomeOfAnAttemptInFlight(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	e := newEngine(t)
	e.rows(e.hook.ID, 3)
	held := e.lease(2)
	require.Len(t, held, 2)
	require.NoError(t, e.Delete(ctx, e.tenant, e.hook.ID))
	require.Equal(t, 1, e.count(t, `status = 'failed' AND last_error = 'webhook deleted'`), "the row that nobody holds")
	e.write(e.outcome(held[0], 1, true))
	e.write(e.outcome(held[1], 1, false))
	require.Equal(t, 1, e.count(t, `status = 'delivered' AND attempts = 1 AND last_status_code = 200`))
	require.Equal(t, 1, e.count(t, `status = 'pending' AND attempts = 1 AND last_status_code = 500`))
	// The dispatcher ends the row when it is due; it keeps what the receiver said.
	e.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE status = 'pending'`)
	rest := e.lease(1)
	require.Len(t, rest, 1)
	e.write(subscribers.OutcomeBatch{Outcomes: []subscribers.Outcome{{Ref: rest[0].Ref, WebhookID: e.hook.ID, Attempt: 2, Error: "the webhook was deleted", Unsent: true}}})
	require.Equal(t, 1, e.count(t, `status = 'failed' AND attempts = 1 AND last_status_code = 500 AND last_error = 'the webhook was deleted'`))
}
