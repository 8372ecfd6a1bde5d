package subscribers

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
)

// The bounds of a [Store.Poll].
const (
	// MaxPoll is the most deliveries of one poll, and of one acknowledgement.
	MaxPoll = 100
	// MaxPollWait is the longest wait for a delivery.
	MaxPollWait = 30 * time.Second
	// DefaultPollLease and MaxPollLease bound the time in which a consumer has to
	// acknowledge what it polled.
	DefaultPollLease = LeaseDuration
	MaxPollLease     = time.Hour
	// pollBytes bounds the envelopes of one poll. One envelope may be larger.
	pollBytes = 4 << 20
	// pollSoon is how soon a poll looks again where a due delivery is in other hands.
	pollSoon = 50 * time.Millisecond
)

// PollRequest says what a poll takes.
type PollRequest struct {
	// Limit is the most deliveries, from 1 to [MaxPoll]; 0: MaxPoll.
	Limit int
	// Wait is how long to wait for the first one, up to [MaxPollWait]; 0: not at all.
	Wait time.Duration
	// Lease is how long they are hidden from other polls, from 1 s to [MaxPollLease]; 0:
	// [DefaultPollLease].
	Lease time.Duration
	// Stop ends the wait when it is closed; nil: nothing does.
	Stop <-chan struct{}
}

func (r *PollRequest) check() error {
	if r.Limit == 0 {
		r.Limit = MaxPoll
	}
	if r.Lease == 0 {
		r.Lease = DefaultPollLease
	}
	fault := func(field, format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case r.Limit < 1 || r.Limit > MaxPoll:
		return fault("limit", "is %d; it must be from 1 to %d", r.Limit, MaxPoll)
	case r.Wait < 0 || r.Wait > MaxPollWait:
		return fault("wait", "is %g s; it must be from 0 to %g", r.Wait.Seconds(), MaxPollWait.Seconds())
	case r.Lease < time.Second || r.Lease > MaxPollLease:
		return fault("lease", "is %g s; it must be from 1 to %g", r.Lease.Seconds(), MaxPollLease.Seconds())
	}
	return nil
}

// Polled is a delivery that a consumer holds a lease of.
type Polled struct {
	DeliveryID events.DeliveryID
	EventID    events.ID
	// Attempt is the number of this attempt, from 1. A lease that runs out is none.
	Attempt int
	// IsReplay marks a delivery of a replay or a redelivery.
	IsReplay bool
	// PolledBefore says that an earlier poll had the delivery, and that its lease ran out.
	PolledBefore bool
	// LeasedUntil is when other polls get the delivery, unless it was acknowledged. UTC.
	LeasedUntil time.Time
	// Lease names the lease in [AckRequest.Lease]. All deliveries of a poll have the same.
	Lease string
	// Envelope is the event's envelope, byte for byte.
	Envelope json.RawMessage
}

// leaseName names a lease by its end in Unix microseconds, which tells the leases of a delivery apart: each begins when
// the one before has ended.
func leaseName(end int64) string { return strconv.FormatInt(end, 36) }

// leaseEnd is the reverse of leaseName; 0 for "".
func leaseEnd(name string) (int64, error) {
	if name == "" {
		return 0, nil
	}
	return strconv.ParseInt(name, 36, 64)
}

// polledEvery is how exact the times of the last poll and of the last success are.
const polledEvery = 10 * time.Second

// polledHook is what polls and acknowledgements need of a webhook.
type polledHook struct {
	kind            Kind
	enabled, strict bool
	retry           *Retry
	// touchPolled and touchDelivered: the stored times are old.
	touchPolled, touchDelivered bool
}

const readPolledHook = `
SELECT kind, enabled, ordering = 'strict', retry,
       coalesce(last_polled_at, '-infinity') < now() - make_interval(secs => $3), coalesce(last_delivered_at, '-infinity') < now() - make_interval(secs => $3)
FROM fanmail.webhooks WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`

// polledHook reads a webhook that is polled. It returns [ErrNotFound] or [ErrPush].
func (s *Store) polledHook(ctx context.Context, tenant events.TenantID, id events.WebhookID) (h polledHook, err error) {
	err = s.db.QueryRow(ctx, readPolledHook, tenant, id, polledEvery.Seconds()).Scan(&h.kind, &h.enabled, &h.strict, &h.retry, &h.touchPolled, &h.touchDelivered)
	if err != nil {
		return h, found(err, "read a webhook")
	}
	if h.kind != KindPull {
		return h, ErrPush
	}
	return h, nil
}

// The trigger webhooks_stamp leaves this column out.
const touchPolled = `UPDATE fanmail.webhooks SET last_polled_at = now() WHERE tenant_id = $1 AND id = $2`

// untilDue is the time from now until the earliest pending delivery is due or its lease ends, in seconds.
const untilDue = `
SELECT date_part('epoch', min(next_retry_at) - clock_timestamp()) FROM (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = $1 AND status = 'pending' AND NOT strict ORDER BY next_retry_at LIMIT 1) AS first`

// In strict order a poll gets the deliveries with the lowest sequences, up to the first that is leased or waits for its next
// attempt, and up to the horizon; see [fetchHead]. The lock makes the polls and acknowledgements of a webhook take turns, so
// that no row changes while this looks at the rows before it.
const (
	lockPolled   = `SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 8))`
	leaseInOrder = `
WITH first AS MATERIALIZED (
	SELECT id, created_at, next_retry_at <= now() AND seq <= $4 AS ready, row_number() OVER (ORDER BY seq, created_at) AS n FROM (
		SELECT id, created_at, seq, next_retry_at FROM fanmail.webhook_subscriber_deliveries
		WHERE webhook_id = $2 AND status = 'pending' AND strict ORDER BY seq, created_at LIMIT $3) AS rows
), due AS MATERIALIZED (
	SELECT d.id, d.created_at, d.leased FROM first AS f
	JOIN fanmail.webhook_subscriber_deliveries AS d ON d.id = f.id AND d.created_at = f.created_at
	WHERE f.n < coalesce((SELECT min(n) FROM first WHERE NOT ready), $3::bigint + 1) AND d.status = 'pending'
	FOR UPDATE OF d
)` + leaseTail
	untilHead = `
SELECT date_part('epoch', h.next_retry_at - clock_timestamp()) FROM (SELECT $1::uuid AS webhook_id) AS w LEFT JOIN LATERAL (` + strictHead + `) AS h ON true`
)

// leasePolled leases due deliveries once. It also returns when the next one is due if there is none.
func (s *Store) leasePolled(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, r *PollRequest) ([]Polled, time.Duration, error) {
	h, err := s.polledHook(ctx, tenant, webhook)
	if err != nil {
		return nil, 0, err
	}
	if !h.enabled {
		return nil, 0, ErrDisabled
	}
	var f fetch
	var next *float64
	b := &pgx.Batch{}
	if h.strict { // the lock comes first, as in Ack
		b.Queue(lockPolled, webhook)
	}
	if h.touchPolled {
		b.Queue(touchPolled, tenant, webhook)
	}
	if h.strict {
		err = s.leaseStrict(ctx, b, tenant, webhook, r, &f, &next)
	} else {
		b.Queue(fetchDueRows, r.Lease.Seconds(), []events.WebhookID{webhook}, []int32{int32(r.Limit)}).Query(f.readLeased) //nolint:gosec // at most MaxPoll
		b.Queue(untilDue, webhook).QueryRow(func(row pgx.Row) error { return row.Scan(&next) })
		err = s.db.SendBatch(ctx, b).Close()
	}
	if err != nil {
		f.release(ctx, s.db)
		return nil, 0, fmt.Errorf("lease deliveries for a poll: %w", err)
	}
	again := MaxPollWait
	if next != nil {
		again = min(again, max(pollSoon, time.Duration(*next*float64(time.Second))))
	}
	list, err := s.readPolled(ctx, &f)
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("poll deliveries: %w", context.Cause(ctx))
	}
	if err != nil { // the consumer, if it is still there, gets none of them
		f.release(ctx, s.db)
		return nil, 0, err
	}
	return list, again, nil
}

// leaseStrict is the same for a webhook in strict order. It sends the batch first, which takes the lock.
func (s *Store) leaseStrict(ctx context.Context, b *pgx.Batch, tenant events.TenantID, webhook events.WebhookID, r *PollRequest, f *fetch, next **float64) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var horizon outbox.Horizon
		outbox.QueueHorizon(b, []events.TenantID{tenant}, &horizon)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(leaseInOrder, r.Lease.Seconds(), webhook, r.Limit, horizon.Of(tenant)).Query(f.readLeased)
		b.Queue(untilHead, webhook).QueryRow(func(row pgx.Row) error { return row.Scan(next) })
		return tx.SendBatch(ctx, b).Close()
	})
}

// readPolled reads the envelopes of leased rows. Rows that would make the answer too large are released, and rows whose
// event is past its retention end.
func (s *Store) readPolled(ctx context.Context, f *fetch) ([]Polled, error) {
	if err := f.envelopes(ctx, s.db); err != nil {
		return nil, err
	}
	var list []Polled
	var rest OutcomeBatch
	size := 0
	for i := range f.leased {
		l := &f.leased[i]
		size += len(l.Envelope)
		switch {
		case l.Envelope == nil:
			rest.Outcomes = append(rest.Outcomes, Outcome{Ref: l.Ref, WebhookID: l.WebhookID, Error: "the event is past its retention", Unsent: true})
		case size > pollBytes && len(list) > 0:
			rest.Release = append(rest.Release, Lease{Ref: l.Ref, Lease: l.Lease})
		default:
			list = append(list, Polled{
				DeliveryID: l.ID, EventID: l.EventID, Attempt: l.Attempts + 1, IsReplay: l.IsReplay, PolledBefore: l.Expired, LeasedUntil: time.UnixMicro(l.Lease).UTC(), Lease: leaseName(l.Lease), Envelope: l.Envelope,
			})
		}
	}
	if len(rest.Outcomes)+len(rest.Release) > 0 {
		if _, err := WriteOutcomes(ctx, s.db, &rest); err != nil {
			return nil, err
		}
	}
	return list, nil
}
