package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// The constants of a delivery's life.
const (
	// LeaseDuration is how long a row that the sweep has leased is hidden
	// (the seed's LeaseDuration).
	LeaseDuration = 5 * time.Minute
	// FirstLease is how long a new row is hidden while its message travels to
	// a lane.
	FirstLease = 30 * time.Second
	// MaxAttempts of a delivery, and the attempts that a manual retry adds.
	MaxAttempts = attempt.MaxAttempts
	// Retention is how long deliveries and events are kept.
	Retention = 30 * 24 * time.Hour
)

// Ref names a row of webhook_subscriber_deliveries. The creation time, as Unix
// microseconds, names its partition.
type Ref struct {
	ID        events.DeliveryID
	CreatedAt int64
}

func (r Ref) created() int64 { return r.CreatedAt }

// NewDelivery is a row to be born: one event for one webhook.
type NewDelivery struct {
	Ref
	WebhookID events.WebhookID
	TenantID  events.TenantID
	EventID   events.ID
	EventType events.Type
	MessageID string
	Seq       int64
	// Strict rows are due at once and travel in no message: the sweep takes
	// them in the order of their sequence.
	Strict bool
	// Due rows are due at once too, since their lane has no room for them;
	// the sweep takes them when it has.
	Due bool
}

const insertDeliveries = `
INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at,
       next_retry_at, expires_at, seq, max_attempts, event_type, message_id, strict)
SELECT id, created_at, webhook_id, tenant_id, event_id, created_at,
       CASE WHEN strict OR parked THEN now() ELSE now() + make_interval(secs => $13) END, created_at + make_interval(secs => $11),
       seq, $12, event_type, nullif(message_id, ''), strict
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::bigint[], $9::boolean[], $10::boolean[])
     AS t (id, created_at, webhook_id, tenant_id, event_id, event_type, message_id, seq, strict, parked)
ON CONFLICT DO NOTHING`

// QueueInsert adds the birth of rows to a batch. Rows that exist already stay
// as they are. The lease of the others ends [FirstLease] after the batch's
// now().
func QueueInsert(b *pgx.Batch, rows []NewDelivery) {
	n := len(rows)
	ids := make([]events.DeliveryID, n)
	created := make([]time.Time, n)
	webhooks := make([]events.WebhookID, n)
	tenants := make([]events.TenantID, n)
	evs := make([]events.ID, n)
	types, messages := make([]string, n), make([]string, n)
	seqs := make([]int64, n)
	strict, parked := make([]bool, n), make([]bool, n)
	for i := range rows {
		r := &rows[i]
		ids[i], created[i], webhooks[i], tenants[i], evs[i] = r.ID, time.UnixMicro(r.CreatedAt), r.WebhookID, r.TenantID, r.EventID
		types[i], messages[i], seqs[i], strict[i] = string(r.EventType), r.MessageID, r.Seq, r.Strict
		parked[i] = r.Due
	}
	b.Queue(insertDeliveries, ids, created, webhooks, tenants, evs, types, messages, seqs, strict, parked, Retention.Seconds(), MaxAttempts, FirstLease.Seconds())
}

// Leased is a row in the hands of a dispatcher, with what a POST needs.
type Leased struct {
	Ref
	WebhookID   events.WebhookID
	EventID     events.ID
	EventType   events.Type
	Seq         int64
	Attempts    int // made so far
	MaxAttempts int
	// IsReplay says that it is a replay's or a redelivery's, which lets what is
	// new go ahead.
	IsReplay bool
	// Lease is when it ends, Unix microseconds of the database's clock. It is
	// also the token that renewing and parking must show.
	Lease int64
	// Envelope is nil where the event is no longer kept.
	Envelope []byte
	// Traceparent is the span that the attempt is part of; "" where the event
	// is not traced.
	Traceparent string
}

// FetchRequest asks for due rows of one webhook: at most Room, or, where Strict, the
// one whose turn it is.
type FetchRequest struct {
	WebhookID events.WebhookID
	Room      int
	Strict    bool
}

// What is due becomes leased, and its envelope is read by primary key.
const leaseTail = `, leased AS (
	UPDATE fanmail.webhook_subscriber_deliveries AS d SET next_retry_at = now() + make_interval(secs => $1)
	FROM due WHERE d.id = due.id AND d.created_at = due.created_at
	RETURNING d.id, d.created_at, d.webhook_id, d.event_id, d.event_created_at, d.event_type, d.seq, d.attempts, d.max_attempts, d.kind, d.next_retry_at
)
SELECT l.id, l.created_at, l.webhook_id, l.event_id, l.event_type, l.seq, l.attempts, l.max_attempts, l.kind = 'replay', l.next_retry_at, e.envelope, coalesce(e.traceparent, '')
FROM leased AS l LEFT JOIN LATERAL (
	SELECT envelope, traceparent FROM fanmail.events WHERE id = l.event_id AND created_at = l.event_created_at
) AS e ON true
ORDER BY l.created_at, l.seq`

// Each webhook's earliest due rows by the partial index: nothing reads more
// than room rows of a webhook.
const leaseDue = `
WITH due AS MATERIALIZED (
	SELECT d.id, d.created_at
	FROM unnest($2::uuid[], $3::integer[]) AS w (webhook_id, room)
	CROSS JOIN LATERAL (
		SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries
		WHERE webhook_id = w.webhook_id AND status = 'pending' AND NOT strict AND next_retry_at <= now()
		ORDER BY next_retry_at LIMIT w.room
		FOR UPDATE SKIP LOCKED
	) AS d
)` + leaseTail

// The earliest pending row of each webhook: due already, or when to come back.
const earliestPending = `
SELECT w.webhook_id, (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.webhook_id AND status = 'pending' AND NOT strict ORDER BY next_retry_at LIMIT 1)
FROM unnest($1::uuid[]) AS w (webhook_id)`

// In strict order it is the turn of the pending row with the lowest sequence,
// if it is due, and if no earlier event of the tenant waits to be fanned out:
// that one may be for the same webhook. Sequence and commit order agree for
// such tenants, so what is not in this snapshot comes later.
const leaseHead = `
WITH due AS MATERIALIZED (
	SELECT d.id, d.created_at
	FROM unnest($2::uuid[]) AS w (webhook_id)
	CROSS JOIN LATERAL (` + strictHead + `) AS h
	JOIN fanmail.webhook_subscriber_deliveries AS d ON d.id = h.id AND d.created_at = h.created_at
	WHERE d.status = 'pending' AND d.next_retry_at <= now()
	  AND NOT EXISTS (SELECT 1 FROM fanmail.outbox AS o WHERE o.tenant_id = h.tenant_id AND o.seq < h.seq)
	FOR UPDATE OF d SKIP LOCKED
)` + leaseTail

const strictHead = `
	SELECT id, created_at, seq, tenant_id, next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.webhook_id AND status = 'pending' AND strict
	ORDER BY seq, created_at LIMIT 1`

const strictHeads = `
SELECT w.webhook_id, h.next_retry_at FROM unnest($1::uuid[]) AS w (webhook_id) LEFT JOIN LATERAL (` + strictHead + `) AS h ON true`

// FetchDue leases due rows of the wanted webhooks for [LeaseDuration] (those
// in strict order for [FirstLease]: their line waits for nobody longer than it
// must); two callers never get the same row. Beside the rows it gives when to
// come back for each wanted webhook: the earliest next_retry_at that is left,
// leases included, or the head's of one in strict order (Unix microseconds; 0
// where nothing is pending).
func FetchDue(ctx context.Context, pool *pgxpool.Pool, wants []FetchRequest) ([]Leased, map[events.WebhookID]int64, error) {
	var ids, lines []events.WebhookID
	var rooms []int32
	for _, w := range wants {
		if w.Strict {
			lines = append(lines, w.WebhookID)
			continue
		}
		ids, rooms = append(ids, w.WebhookID), append(rooms, int32(w.Room)) //nolint:gosec // small
	}
	var leased []Leased
	next := make(map[events.WebhookID]int64, len(wants))
	take := func(rows pgx.Rows) error {
		got, err := pgx.CollectRows(rows, scanLeased)
		leased = append(leased, got...)
		return err
	}
	look := func(rows pgx.Rows) error {
		var id events.WebhookID
		var at *time.Time
		_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error {
			next[id] = 0
			if at != nil {
				next[id] = at.UnixMicro()
			}
			return nil
		})
		return err
	}
	b := &pgx.Batch{}
	if len(ids) > 0 {
		b.Queue(leaseDue, LeaseDuration.Seconds(), ids, rooms).Query(take)
		b.Queue(earliestPending, ids).Query(look)
	}
	if len(lines) > 0 {
		b.Queue(leaseHead, FirstLease.Seconds(), lines).Query(take)
		b.Queue(strictHeads, lines).Query(look)
	}
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, nil, fmt.Errorf("lease due deliveries: %w", err)
	}
	return leased, next, nil
}

func scanLeased(row pgx.CollectableRow) (Leased, error) {
	var l Leased
	var created, lease time.Time
	err := row.Scan(&l.ID, &created, &l.WebhookID, &l.EventID, &l.EventType, &l.Seq, &l.Attempts, &l.MaxAttempts, &l.IsReplay, &lease, &l.Envelope, &l.Traceparent)
	l.CreatedAt, l.Lease = created.UnixMicro(), lease.UnixMicro()
	return l, err
}

// A loose scan over a partial index: from one webhook to the next, one descent
// each, however many rows a webhook has.
const (
	discoverDue = `
WITH RECURSIVE found AS (
	(SELECT webhook_id, next_retry_at FROM fanmail.webhook_subscriber_deliveries
	 WHERE status = 'pending' AND NOT strict AND webhook_id >= $1 AND webhook_id <= $2 ORDER BY webhook_id, next_retry_at LIMIT 1)
	UNION ALL
	SELECT n.webhook_id, n.next_retry_at FROM found CROSS JOIN LATERAL (
		SELECT webhook_id, next_retry_at FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'pending' AND NOT strict AND webhook_id > found.webhook_id AND webhook_id <= $2 ORDER BY webhook_id, next_retry_at LIMIT 1
	) AS n
)
SELECT webhook_id, next_retry_at FROM found`
	discoverLines = `
WITH RECURSIVE found AS (
	(SELECT webhook_id, next_retry_at FROM fanmail.webhook_subscriber_deliveries
	 WHERE status = 'pending' AND strict AND webhook_id >= $1 AND webhook_id <= $2 ORDER BY webhook_id, seq, created_at LIMIT 1)
	UNION ALL
	SELECT n.webhook_id, n.next_retry_at FROM found CROSS JOIN LATERAL (
		SELECT webhook_id, next_retry_at FROM fanmail.webhook_subscriber_deliveries
		WHERE status = 'pending' AND strict AND webhook_id > found.webhook_id AND webhook_id <= $2 ORDER BY webhook_id, seq, created_at LIMIT 1
	) AS n
)
SELECT webhook_id, next_retry_at FROM found`
)

// PendingWebhook is a webhook that has pending rows.
type PendingWebhook struct {
	WebhookID events.WebhookID
	// Next is the earliest next_retry_at, or that of the head of a strict
	// line, in Unix microseconds, leases included.
	Next int64
	// Strict says that the rows are marked for strict order.
	Strict bool
}

// FindPending gives every webhook of a partition that has pending rows; one whose
// ordering was changed may be there twice.
func FindPending(ctx context.Context, pool *pgxpool.Pool, partition int) ([]PendingWebhook, error) {
	first, last := events.PartitionRange(partition)
	var found []PendingWebhook
	read := func(strict bool) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			var id events.WebhookID
			var at time.Time
			_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error {
				found = append(found, PendingWebhook{WebhookID: id, Next: at.UnixMicro(), Strict: strict})
				return nil
			})
			return err
		}
	}
	b := &pgx.Batch{}
	// The first range begins with the zero id, which as a value means NULL.
	b.Queue(discoverDue, [16]byte(first), [16]byte(last)).Query(read(false))
	b.Queue(discoverLines, [16]byte(first), [16]byte(last)).Query(read(true))
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("discover pending deliveries: %w", err)
	}
	return found, nil
}

// SetStrict marks a webhook's pending rows as its ordering wants them: those that
// were born while it was being changed carry the old mark.
func SetStrict(ctx context.Context, pool *pgxpool.Pool, id events.WebhookID, strict bool) error {
	statement := `UPDATE fanmail.webhook_subscriber_deliveries SET strict = true WHERE webhook_id = $1 AND status = 'pending' AND NOT strict`
	if !strict {
		statement = `UPDATE fanmail.webhook_subscriber_deliveries SET strict = false WHERE webhook_id = $1 AND status = 'pending' AND strict`
	}
	if _, err := pool.Exec(ctx, statement, id); err != nil {
		return fmt.Errorf("mark pending deliveries for their ordering: %w", err)
	}
	return nil
}

// EventRefs name events by id and creation time. The zero value names none.
type EventRefs struct {
	ids   []events.ID
	times []time.Time
}

// Add names one more; createdAt is Unix microseconds.
func (r *EventRefs) Add(id events.ID, createdAt int64) {
	r.ids, r.times = append(r.ids, id), append(r.times, time.UnixMicro(createdAt))
}

// Len is how many are named.
func (r *EventRefs) Len() int { return len(r.ids) }

// Envelopes reads the envelopes of the events; one that is no longer kept is
// absent from the answer.
func Envelopes(ctx context.Context, pool *pgxpool.Pool, refs EventRefs) (map[events.ID][]byte, error) {
	rows, err := pool.Query(ctx, `
SELECT e.id, e.envelope FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, created_at)
CROSS JOIN LATERAL (SELECT id, envelope FROM fanmail.events WHERE id = w.id AND created_at = w.created_at) AS e`, refs.ids, refs.times)
	if err != nil {
		return nil, fmt.Errorf("read envelopes: %w", err)
	}
	found := make(map[events.ID][]byte, refs.Len())
	var id events.ID
	var envelope []byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &envelope}, func() error {
		found[id] = append([]byte(nil), envelope...)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read envelopes: %w", err)
	}
	return found, nil
}
