package subscribers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Outcome is the result of one attempt of a delivery.
type Outcome struct {
	Ref
	WebhookID events.WebhookID
	// Attempt is the number of this attempt, from 1.
	Attempt int
	// Delivered reports whether the answer was 2xx.
	Delivered bool
	// StatusCode is that of the answer; 0 if no answer came.
	StatusCode int
	// Error is one line; "" if Delivered.
	Error string
	// Reason is "ok", or the class of the error.
	Reason string
	// Response is the first bytes of the answer's body, valid UTF-8.
	Response string
	// Duration is the time from the start of the attempt to its end.
	Duration time.Duration
	// Final ends a failed delivery even if attempts are left.
	Final bool
	// MaxAttempts is how many attempts the delivery may have; 0: [MaxAttempts].
	MaxAttempts int
	// Retry is the time from now to the next attempt, if one is left.
	Retry time.Duration
	// Unsent ends the delivery as failed without an attempt: its webhook was deleted,
	// or its event is past its retention. The number of attempts stays as it is.
	Unsent bool
	// Lease is when the attempt's lease ends, in Unix microseconds. If somebody has
	// leased the row since, a failure is counted, and status and lease stay. 0: the
	// failure is recorded whoever holds the row.
	Lease int64
}

func (o *Outcome) leaseEnd() time.Time {
	if o.Lease == 0 {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.UnixMicro(o.Lease)
}

// Lease names a row and the lease under which it is held.
type Lease struct {
	Ref
	Lease int64 // Unix microseconds; must equal the row's next_retry_at
	// Pause is how long the row waits after its release.
	Pause time.Duration
}

// Success is that a webhook was delivered to so long ago.
type Success struct {
	WebhookID events.WebhookID
	Ago       time.Duration
}

// OutcomeBatch is what one commit writes. The zero value writes nothing.
type OutcomeBatch struct {
	Outcomes []Outcome
	// Release ends leases: their rows are due after a pause, mostly none, with as many
	// attempts as before.
	Release []Lease
	// Renew extends leases to RenewTo, in Unix microseconds; 0: [LeaseDuration] from
	// now. A lease that ends then is the caller's: an earlier call with this batch
	// may have been committed.
	Renew   []Lease
	RenewTo int64
	// Touch sets last_delivered_at of these webhooks to now.
	Touch []events.WebhookID
	// Delivered sets it for successes before now, unless it is later already.
	Delivered []Success
	// Disable disables these webhooks, which answered 410 Gone.
	Disable []events.WebhookID
}

func (l *OutcomeBatch) renewTo() *time.Time {
	if l.RenewTo == 0 {
		return nil
	}
	at := time.UnixMicro(l.RenewTo)
	return &at
}

// OutcomeResult is the result of writing an [OutcomeBatch].
type OutcomeResult struct {
	// Next is when each failed row is due again, in Unix microseconds. It lacks the
	// rows that are final and those whose outcome was stale.
	Next map[events.DeliveryID]int64
	// Stale counts the outcomes that changed nothing: the row was final, or a later
	// attempt was recorded.
	Stale int
	// Renewed are the ends of the new leases, in Unix microseconds. It lacks the rows
	// whose lease was not the caller's any more.
	Renewed map[events.DeliveryID]int64
}

// Statements that find rows by key are for the rows of one day; see [pg.Day.In] and
// expectOne.

// A success counts even if it comes late. A final row stays as it is.
const recordDelivered = `
UPDATE fanmail.webhook_subscriber_deliveries AS d
SET status = 'delivered', attempts = least(d.attempts + 1, 32767), last_status_code = o.code, last_error = NULL,
    last_attempt_at = now(), finished_at = now(), next_retry_at = NULL
FROM (SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[]) ` + expectOne + `) AS o (id, created_at, code)
WHERE d.id = o.id AND d.created_at = o.created_at AND d.status = 'pending' AND ` + ofDay

// A failure ends the delivery if it is the last attempt, and if nobody has leased
// the row since: else the row is in the hands of whoever did.
const endsDelivery = `(o.final OR d.attempts + 1 >= d.max_attempts) AND d.next_retry_at <= o.lease`

// A failure counts only if the row has recorded the attempts before it and no more,
// or is still under the attempt's lease.
const recordFailed = `
UPDATE fanmail.webhook_subscriber_deliveries AS d
SET attempts = CASE WHEN o.unsent THEN d.attempts ELSE least(d.attempts + 1, 32767) END, last_status_code = CASE WHEN o.unsent THEN d.last_status_code ELSE o.code END,
    last_error = o.error, last_attempt_at = CASE WHEN o.unsent THEN d.last_attempt_at ELSE now() END,
    status        = CASE WHEN ` + endsDelivery + ` THEN 'failed' ELSE 'pending' END,
    finished_at   = CASE WHEN ` + endsDelivery + ` THEN now() END,
    leased        = d.leased AND d.next_retry_at > o.lease,
    next_retry_at = CASE WHEN d.next_retry_at > o.lease THEN d.next_retry_at WHEN ` + endsDelivery + ` THEN NULL ELSE now() + make_interval(secs => o.retry) END
FROM (SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::smallint[], $5::text[], $6::boolean[], $7::float8[], $8::boolean[], $9::timestamptz[]) ` + expectOne + `)
     AS o (id, created_at, code, attempt, error, final, retry, unsent, lease)
WHERE d.id = o.id AND d.created_at = o.created_at AND d.status = 'pending' AND (d.attempts = o.attempt - 1 OR d.next_retry_at = o.lease OR o.unsent)
  AND ` + ofDay + `
RETURNING d.id, d.next_retry_at`

const logAttempts = `
INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason, error, response)
SELECT id, created_at, attempt, now(), duration, code, reason, nullif(error, ''), nullif(response, '')
FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::integer[], $5::smallint[], $6::text[], $7::text[], $8::text[])
     AS t (id, created_at, attempt, duration, code, reason, error, response)
ON CONFLICT DO NOTHING`

const releaseRows = `
UPDATE fanmail.webhook_subscriber_deliveries AS d SET next_retry_at = now() + make_interval(secs => o.pause), leased = false
FROM (SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::float8[]) ` + expectOne + `) AS o (id, created_at, lease, pause)
WHERE d.id = o.id AND d.created_at = o.created_at AND d.status = 'pending' AND d.next_retry_at = o.lease
  AND ` + ofDay

const renewRows = `
UPDATE fanmail.webhook_subscriber_deliveries AS d SET next_retry_at = coalesce($5, now() + make_interval(secs => $4))
FROM (SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) ` + expectOne + `) AS o (id, created_at, lease)
WHERE d.id = o.id AND d.created_at = o.created_at AND d.status = 'pending' AND (d.next_retry_at = o.lease OR d.next_retry_at = $5)
  AND ` + ofDay + `
RETURNING d.id, d.next_retry_at`

const touchWebhooks = `UPDATE fanmail.webhooks SET last_delivered_at = now() WHERE id = ANY($1::uuid[])`

const touchSince = `
UPDATE fanmail.webhooks AS w SET last_delivered_at = greatest(w.last_delivered_at, now() - make_interval(secs => o.ago))
FROM unnest($1::uuid[], $2::float8[]) AS o (id, ago) WHERE w.id = o.id`

const disableGone = `
UPDATE fanmail.webhooks SET enabled = false, auto_disabled_at = now(), disabled_reason = 'the endpoint answered 410 Gone'
WHERE id = ANY($1::uuid[]) AND enabled`

// WriteOutcomes writes a batch in one transaction and one round trip. It is
// idempotent: if an error leaves the commit in doubt, call it again with the same
// batch. After an error for which [Refused] is true, the same batch fails again.
func WriteOutcomes(ctx context.Context, db pg.DB, l *OutcomeBatch) (OutcomeResult, error) {
	w := OutcomeResult{Next: map[events.DeliveryID]int64{}, Renewed: map[events.DeliveryID]int64{}}
	b := &pgx.Batch{}
	queueDelivered(b, l.Outcomes, &w)
	queueFailed(b, l.Outcomes, &w)
	queueAttempts(b, l.Outcomes)
	queueEnded(b, l.Outcomes)
	eachDay(l.Release, Lease.created, func(d pg.Day, rows []Lease) {
		ids, created, leases := leaseColumns(rows)
		pauses := make([]float64, len(rows))
		for i := range rows {
			pauses[i] = rows[i].Pause.Seconds()
		}
		b.Queue(d.In(releaseRows), ids, created, leases, pauses)
	})
	eachDay(l.Renew, Lease.created, func(d pg.Day, rows []Lease) {
		ids, created, leases := leaseColumns(rows)
		b.Queue(d.In(renewRows), ids, created, leases, LeaseDuration.Seconds(), l.renewTo()).Query(func(rows pgx.Rows) error {
			var id events.DeliveryID
			var at time.Time
			_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { w.Renewed[id] = at.UnixMicro(); return nil })
			return err
		})
	})
	if len(l.Touch) > 0 {
		b.Queue(touchWebhooks, l.Touch)
		queueRecovered(b, l.Touch)
	}
	queueSuccesses(b, l.Delivered)
	if len(l.Disable) > 0 {
		b.Queue(disableGone, l.Disable)
		queueDisabled(b, l.Disable)
	}
	if b.Len() == 0 {
		return w, nil
	}
	// Postgres runs a pipeline without BEGIN as one implicit transaction.
	if err := db.SendBatch(ctx, b).Close(); err != nil {
		return OutcomeResult{}, fmt.Errorf("write outcomes: %w", err)
	}
	return w, nil
}

func queueSuccesses(b *pgx.Batch, all []Success) {
	if len(all) == 0 {
		return
	}
	ids, ago := make([]events.WebhookID, len(all)), make([]float64, len(all))
	for i, s := range all {
		ids[i], ago[i] = s.WebhookID, s.Ago.Seconds()
	}
	b.Queue(touchSince, ids, ago)
}

func queueDelivered(b *pgx.Batch, outcomes []Outcome, w *OutcomeResult) {
	delivered := pick(outcomes, func(o *Outcome) bool { return o.Delivered })
	eachDay(delivered, (*Outcome).created, func(d pg.Day, outcomes []*Outcome) {
		c := columnsOf(outcomes)
		b.Queue(d.In(recordDelivered), c.ids, c.created, c.codes).Exec(func(tag pgconn.CommandTag) error {
			w.Stale += len(outcomes) - int(tag.RowsAffected())
			return nil
		})
	})
}

func queueFailed(b *pgx.Batch, outcomes []Outcome, w *OutcomeResult) {
	failed := pick(outcomes, func(o *Outcome) bool { return !o.Delivered })
	eachDay(failed, (*Outcome).created, func(d pg.Day, outcomes []*Outcome) {
		c := columnsOf(outcomes)
		var attempts []int16
		var errs []string
		var final, unsent []bool
		var retries []float64
		var leases []time.Time
		for _, o := range outcomes {
			attempts = append(attempts, int16(o.Attempt)) //nolint:gosec // small
			errs = append(errs, o.Error)
			final = append(final, o.Final || o.Unsent)
			unsent = append(unsent, o.Unsent)
			retries = append(retries, o.Retry.Seconds())
			leases = append(leases, o.leaseEnd())
		}
		b.Queue(d.In(recordFailed), c.ids, c.created, c.codes, attempts, errs, final, retries, unsent, leases).Query(func(rows pgx.Rows) error {
			var id events.DeliveryID
			var at *time.Time
			w.Stale += len(outcomes)
			_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error {
				w.Stale--
				if at != nil {
					w.Next[id] = at.UnixMicro()
				}
				return nil
			})
			return err
		})
	})
}

// queueEnded records the deliveries that the outcomes may have ended. This adds nothing
// for successes and for most failures.
func queueEnded(b *pgx.Batch, outcomes []Outcome) {
	ended := pick(outcomes, func(o *Outcome) bool {
		return !o.Delivered && !o.Unsent && (o.Final || o.Attempt >= cmp.Or(o.MaxAttempts, MaxAttempts))
	})
	eachDay(ended, (*Outcome).created, func(d pg.Day, outcomes []*Outcome) {
		c := columnsOf(outcomes)
		queueExhausted(b, d, c.ids, c.created)
	})
}

// pick returns the outcomes for which want is true.
func pick(outcomes []Outcome, want func(*Outcome) bool) []*Outcome {
	var out []*Outcome
	for i := range outcomes {
		if want(&outcomes[i]) {
			out = append(out, &outcomes[i])
		}
	}
	return out
}

// outcomeColumns are the arguments that the statements on outcomes share.
type outcomeColumns struct {
	ids     []events.DeliveryID
	created []time.Time
	codes   []int16
}

func columnsOf(outcomes []*Outcome) (c outcomeColumns) {
	for _, o := range outcomes {
		c.ids = append(c.ids, o.ID)
		c.created = append(c.created, o.CreatedAt)
		c.codes = append(c.codes, int16(o.StatusCode)) //nolint:gosec // 0 to 999
	}
	return c
}

func queueAttempts(b *pgx.Batch, outcomes []Outcome) {
	// The delivery's row says all of a success at the first attempt.
	made := pick(outcomes, func(o *Outcome) bool { return !o.Unsent && (!o.Delivered || o.Attempt != 1) })
	if len(made) == 0 {
		return
	}
	c := columnsOf(made)
	var attempts []int16
	var durations []int32
	var reasons, errs, responses []string
	for _, o := range made {
		attempts = append(attempts, int16(o.Attempt))                               //nolint:gosec // small
		durations = append(durations, int32(min(o.Duration.Milliseconds(), 1<<30))) //nolint:gosec // bounded
		reasons, errs, responses = append(reasons, o.Reason), append(errs, o.Error), append(responses, o.Response)
	}
	b.Queue(logAttempts, c.ids, c.created, attempts, durations, c.codes, reasons, errs, responses)
}

func leaseColumns(ls []Lease) (ids []events.DeliveryID, created, leases []time.Time) {
	for _, l := range ls {
		ids = append(ids, l.ID)
		created = append(created, l.CreatedAt)
		leases = append(leases, time.UnixMicro(l.Lease))
	}
	return ids, created, leases
}

// Refused reports whether the database refused a batch because of its content: a value
// (class 22), a constraint (23, 44), a limit of Postgres (54), a trigger's exception (P0),
// or a damaged page (XX). The same batch would fail again. A missing right or table (42) is not the
// batch's fault: nothing can be written until the operator has mended it.
func Refused(err error) bool {
	var pe interface{ SQLState() string }
	if !errors.As(err, &pe) {
		return false
	}
	switch state := pe.SQLState(); state[:min(2, len(state))] {
	case "22", "23", "44", "54", "P0", "XX":
		return true
	}
	return false
}
