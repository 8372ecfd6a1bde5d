package dispatch

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// more leases n further rows like that of a stranger.
func more(t *testing.T, d *Dispatcher, q *delivery, n int) (all []*delivery) {
	t.Helper()
	_, err := d.pool.Exec(t.Context(), `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), created_at, webhook_id, tenant_id, event_id, event_created_at, now(), expires_at, seq, max_attempts, event_type
		FROM fanmail.webhook_subscriber_deliveries, generate_series(1, $1)`, n)
	require.NoError(t, err)
	leased, _, err := subscribers.FetchDue(t.Context(), d.pool, []subscribers.FetchRequest{{WebhookID: q.WebhookID, Room: n}})
	require.NoError(t, err)
	require.Len(t, leased, n)
	for i := range leased {
		l := newDelivery(&leased[i], fromTable, &webhookrequest.HeadReader{})
		l.webhook = d.registry.Get(q.WebhookID)
		all = append(all, l)
	}
	return all
}

// holdAll makes a dispatcher the owner of all partitions, without a lease under which it
// would send.
func holdAll(d *Dispatcher) {
	var all [events.Partitions]bool
	for p := range all {
		all[p] = true
	}
	partitions{d}.own(all)
}

// literal is a delivery's id in SQL.
func literal(q *delivery) string { return fmt.Sprintf("'%x'", q.ID[:]) }

func exec(t *testing.T, d *Dispatcher, statement string) {
	t.Helper()
	_, err := d.pool.Exec(t.Context(), statement)
	require.NoError(t, err)
}

// refuseAttempts has the database refuse every outcome of one delivery.
func refuseAttempts(t *testing.T, d *Dispatcher, q *delivery) {
	t.Helper()
	exec(t, d, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no attempts today'; END $$`)
	exec(t, d, `CREATE TRIGGER refuse BEFORE UPDATE ON fanmail.webhook_subscriber_deliveries FOR EACH ROW
		WHEN (NEW.attempts <> OLD.attempts AND NEW.id = `+literal(q)+`) EXECUTE FUNCTION refuse()`)
}

func TestAnOutcomeThatTheDatabaseRefusesIsWrittenWithFixedValues(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	exec(t, d, `ALTER TABLE fanmail.webhook_delivery_attempts ADD CHECK (response <> 'forbidden')`)
	exec(t, d, `ALTER TABLE fanmail.webhook_subscriber_deliveries ADD CHECK (last_status_code <> 555)`)
	exec(t, d, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$`)
	exec(t, d, `CREATE TRIGGER refuse BEFORE UPDATE ON fanmail.webhook_subscriber_deliveries FOR EACH ROW
		WHEN (NEW.last_error = 'raise') EXECUTE FUNCTION refuse()`)
	fails := func(change func(*attempt.Result)) attempt.Result {
		r := attempt.Result{StatusCode: http.StatusInternalServerError, Reason: attempt.ReasonServer, Error: "answered 500", Response: "no"}
		change(&r)
		return r
	}
	results := map[string]attempt.Result{
		"a NUL in the error":         fails(func(r *attempt.Result) { r.Error = "a\x00b" }),
		"a NUL in the answer":        fails(func(r *attempt.Result) { r.Response = "a\x00b" }),
		"invalid UTF-8 in the error": fails(func(r *attempt.Result) { r.Error = "\xff" }),
		"invalid UTF-8 in an answer": fails(func(r *attempt.Result) { r.Response = "\xc3" }),
		"a NUL in the reason":        fails(func(r *attempt.Result) { r.Reason = "\x00" }),
		"a check of the log":         fails(func(r *attempt.Result) { r.Response = "forbidden" }),
		"a check of the delivery":    fails(func(r *attempt.Result) { r.StatusCode = 555 }),
		"a trigger":                  fails(func(r *attempt.Result) { r.Error = "raise" }),
	}
	rows := more(t, d, q, len(results)+2)
	healthy, exhausted := rows[0], rows[1]
	exec(t, d, `UPDATE fanmail.webhook_subscriber_deliveries SET attempts = 32767 WHERE id = `+literal(exhausted))
	exhausted.Attempts = 32767
	answered := fails(func(*attempt.Result) {})
	i := 2
	for _, r := range results {
		d.record(rows[i], &r)
		i++
	}
	d.record(healthy, &answered)
	d.record(exhausted, &answered)
	ctx := writing(t, d)
	require.NoError(t, d.outcomes.flush(ctx))

	count := func(where string) (n int) {
		require.NoError(t, d.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE `+where).Scan(&n))
		return n
	}
	require.Equal(t, 1, count(`id = `+literal(healthy)+` AND attempts = 1 AND last_error = 'answered 500' AND next_retry_at < now() + interval '4 minutes'`))
	require.Equal(t, len(results), count(`status = 'pending' AND attempts = 1 AND NOT leased AND last_error = '`+textRefused+`'`))
	require.Equal(t, 1, count(`status = 'failed' AND attempts = 32767`), "a number that can't grow ends the delivery")
	var logged int
	require.NoError(t, d.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhook_delivery_attempts WHERE error = $1 AND response IS NULL`, textRefused).Scan(&logged))
	require.Equal(t, len(results), logged)
}

func TestADeliveryWhoseOutcomeIsAlwaysRefusedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	core, logs := observer.New(zap.ErrorLevel)
	d.outcomes.log = zap.New(core)
	healthy := more(t, d, q, 1)[0]
	refuseAttempts(t, d, q)
	holdAll(d)
	partitions{d}.lease(time.Now().Add(time.Minute))
	q.webhook = d.registry.Get(q.WebhookID)
	inFlight(t, d, q)
	answered := attempt.Result{Delivered: true, StatusCode: http.StatusOK, Reason: attempt.ReasonOK}
	d.record(q, &answered)
	d.record(healthy, &answered)
	ctx := writing(t, d)
	status := func(q *delivery) (s string) {
		require.NoError(t, d.pool.QueryRow(ctx, `SELECT status FROM fanmail.webhook_subscriber_deliveries WHERE id = $1`, q.ID).Scan(&s))
		return s
	}
	kept := func() bool {
		d.outcomes.mu.Lock()
		defer d.outcomes.mu.Unlock()
		return len(d.outcomes.refused) == 1
	}
	require.Eventually(t, kept, time.Minute, 5*time.Millisecond)
	require.Equal(t, "delivered", status(healthy), "of the same commit")
	require.Equal(t, "pending", status(q))
	d.outcomes.retryRefused(false)
	require.Eventually(t, kept, time.Minute, 5*time.Millisecond)
	require.Equal(t, 2, logs.Len(), "the refusal of its own and of the fixed values, once each: %v", logs.All())

	d.admitWaiting(ctx, fetchedAgain(t, d, q))
	require.True(t, d.sched.Holds(q.ID))
	exec(t, d, `DROP TRIGGER refuse ON fanmail.webhook_subscriber_deliveries`)
	d.outcomes.retryRefused(false)
	require.Eventually(t, func() bool { return status(q) == "delivered" }, time.Minute, 5*time.Millisecond)
	require.NoError(t, d.outcomes.flush(ctx))
}

// A missing table or right is not the fault of an outcome.
func TestOutcomesWaitWhileTheDatabaseLacksATable(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	exec(t, d, `ALTER TABLE fanmail.webhook_delivery_attempts RENAME TO away`)
	q.webhook = d.registry.Get(q.WebhookID)
	answered := attempt.Result{StatusCode: http.StatusInternalServerError, Reason: attempt.ReasonServer, Error: "answered 500"}
	d.record(q, &answered)
	ctx := writing(t, d)
	require.Eventually(t, d.outcomes.blocked.Load, time.Minute, 5*time.Millisecond, "nothing is sent that can't be recorded")
	exec(t, d, `ALTER TABLE fanmail.away RENAME TO webhook_delivery_attempts`)
	require.NoError(t, d.outcomes.flush(ctx))
	require.False(t, d.outcomes.blocked.Load())
	var text string
	require.NoError(t, d.pool.QueryRow(ctx, `SELECT error FROM fanmail.webhook_delivery_attempts`).Scan(&text))
	require.Equal(t, answered.Error, text)
}

// inFlight puts a delivery into its lane, as if its attempt had begun and ended.
func inFlight(t *testing.T, d *Dispatcher, q *delivery) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	w := scheduled(d.registry.Get(q.WebhookID))
	now := d.clock.now()
	require.Equal(t, scheduler.Queued, d.sched.Add(now, &q.Delivery, &w))
	d.sched.Advance(now)
	require.True(t, slices.ContainsFunc(d.sched.Commands(), func(c scheduler.Command) bool { return c.Kind == scheduler.Start }))
	d.sched.Finish(now, &q.Delivery, scheduler.Result{Outcome: scheduler.Delivered})
}

// fetchedAgain fetches a delivery whose lease has run out.
func fetchedAgain(t *testing.T, d *Dispatcher, q *delivery) *delivery {
	t.Helper()
	exec(t, d, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE id = `+literal(q))
	leased, _, err := subscribers.FetchDue(context.WithoutCancel(t.Context()), d.pool, []subscribers.FetchRequest{{WebhookID: q.WebhookID, Room: 1}})
	require.NoError(t, err)
	require.Len(t, leased, 1)
	require.Equal(t, q.ID, leased[0].ID)
	return newDelivery(&leased[0], fromTable, &webhookrequest.HeadReader{})
}

// While Postgres was away the row's lease ran out; then the row was fetched before the
// outcome was written.
func TestALeaseOfARowThatIsStillHeldIsReleased(t *testing.T) {
	t.Parallel()
	d, q := stranger(t, "http://127.0.0.1:65535/")
	holdAll(d)
	partitions{d}.lease(time.Now().Add(time.Minute))
	q.webhook = d.registry.Get(q.WebhookID)
	inFlight(t, d, q)
	answered := attempt.Result{StatusCode: http.StatusInternalServerError, Reason: attempt.ReasonServer, Error: "answered 500"}
	d.record(q, &answered)
	again := fetchedAgain(t, d, q)
	d.admitWaiting(t.Context(), again)
	require.True(t, d.sched.Holds(q.ID))
	d.mu.Lock()
	d.sched.Lease(time.Time{}) // nothing is fetched or sent from here on
	d.mu.Unlock()
	ctx := writing(t, d)
	require.NoError(t, d.outcomes.flush(ctx))
	var due, leased bool
	var attempts int
	require.NoError(t, d.pool.QueryRow(ctx, `SELECT next_retry_at <= now(), leased, attempts FROM fanmail.webhook_subscriber_deliveries`).Scan(&due, &leased, &attempts))
	require.True(t, due, "nobody would use the lease")
	require.False(t, leased)
	require.Equal(t, 1, attempts)
	require.False(t, d.sched.Holds(q.ID))
}
