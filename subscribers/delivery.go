package subscribers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
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
	MaxAttempts = 8
	// Retention is how long deliveries and events are kept.
	Retention = 30 * 24 * time.Hour
)

// Ref names a row of webhook_subscriber_deliveries. The creation time, as Unix
// microseconds, names its partition.
type Ref struct {
	ID        events.DeliveryID
	CreatedAt int64
}

// NewDelivery is a row to be born: one event for one webhook.
type NewDelivery struct {
	Ref
	WebhookID events.WebhookID
	TenantID  events.TenantID
	EventID   events.ID
	EventType events.Type
	MessageID string
	Seq       int64
	// Unleased rows are due at once: the sweep takes them, no message travels.
	Unleased bool
}

const insertDeliveries = `
INSERT INTO webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at,
       next_retry_at, expires_at, seq, max_attempts, event_type, message_id)
SELECT id, created_at, webhook_id, tenant_id, event_id, created_at,
       now() + make_interval(secs => lease), created_at + make_interval(secs => $10), seq, $11, event_type, nullif(message_id, '')
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::bigint[], $9::float8[])
     AS t (id, created_at, webhook_id, tenant_id, event_id, event_type, message_id, seq, lease)
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
	leases := make([]float64, n)
	for i := range rows {
		r := &rows[i]
		ids[i], created[i], webhooks[i], tenants[i], evs[i] = r.ID, time.UnixMicro(r.CreatedAt), r.WebhookID, r.TenantID, r.EventID
		types[i], messages[i], seqs[i] = string(r.EventType), r.MessageID, r.Seq
		if !r.Unleased {
			leases[i] = FirstLease.Seconds()
		}
	}
	b.Queue(insertDeliveries, ids, created, webhooks, tenants, evs, types, messages, seqs, leases, Retention.Seconds(), MaxAttempts)
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
	// Lease is when it ends, Unix microseconds of the database's clock. It is
	// also the token that renewing and parking must show.
	Lease int64
	// Envelope is nil where the event is no longer kept.
	Envelope []byte
}

// Want asks for due rows of one webhook.
type Want struct {
	WebhookID events.WebhookID
	Room      int
}

// Each webhook's earliest due rows by the partial index, then the lease, then
// the envelopes by primary key. Nothing reads more than room rows of a webhook.
const leaseDue = `
WITH due AS MATERIALIZED (
	SELECT d.id, d.created_at
	FROM unnest($1::uuid[], $2::integer[]) AS w (webhook_id, room)
	CROSS JOIN LATERAL (
		SELECT id, created_at FROM webhook_subscriber_deliveries
		WHERE webhook_id = w.webhook_id AND status = 'pending' AND next_retry_at <= now()
		ORDER BY next_retry_at LIMIT w.room
		FOR UPDATE SKIP LOCKED
	) AS d
), leased AS (
	UPDATE webhook_subscriber_deliveries AS d SET next_retry_at = now() + make_interval(secs => $3)
	FROM due WHERE d.id = due.id AND d.created_at = due.created_at
	RETURNING d.id, d.created_at, d.webhook_id, d.event_id, d.event_created_at, d.event_type, d.seq, d.attempts, d.max_attempts, d.next_retry_at
)
SELECT l.id, l.created_at, l.webhook_id, l.event_id, l.event_type, l.seq, l.attempts, l.max_attempts, l.next_retry_at, e.envelope
FROM leased AS l LEFT JOIN LATERAL (
	SELECT envelope FROM events WHERE id = l.event_id AND created_at = l.event_created_at
) AS e ON true
ORDER BY l.created_at, l.seq`

// The earliest pending row of each webhook: due already, or when to come back.
const earliestPending = `
SELECT w.webhook_id, (
	SELECT next_retry_at FROM webhook_subscriber_deliveries
	WHERE webhook_id = w.webhook_id AND status = 'pending' ORDER BY next_retry_at LIMIT 1)
FROM unnest($1::uuid[]) AS w (webhook_id)`

// LeaseDue leases due rows of the wanted webhooks for [LeaseDuration], at most
// Room of each; two callers never get the same row. Beside the rows it gives
// each wanted webhook's earliest next_retry_at that is left (Unix
// microseconds; 0 where nothing is pending), leases included.
func LeaseDue(ctx context.Context, pool *pgxpool.Pool, wants []Want) ([]Leased, map[events.WebhookID]int64, error) {
	ids, rooms := make([]events.WebhookID, len(wants)), make([]int32, len(wants))
	for i, w := range wants {
		ids[i], rooms[i] = w.WebhookID, int32(w.Room) //nolint:gosec // small
	}
	b := &pgx.Batch{}
	b.Queue(leaseDue, ids, rooms, LeaseDuration.Seconds())
	b.Queue(earliestPending, ids)
	results := pool.SendBatch(ctx, b)
	leased, next, err := readLeases(results)
	if err = errors.Join(err, results.Close()); err != nil {
		return nil, nil, fmt.Errorf("lease due deliveries: %w", err)
	}
	return leased, next, nil
}

func readLeases(results pgx.BatchResults) ([]Leased, map[events.WebhookID]int64, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, nil, err
	}
	leased, err := pgx.CollectRows(rows, scanLeased)
	if err != nil {
		return nil, nil, err
	}
	next, err := readEarliest(results)
	return leased, next, err
}

func scanLeased(row pgx.CollectableRow) (Leased, error) {
	var l Leased
	var created, lease time.Time
	err := row.Scan(&l.ID, &created, &l.WebhookID, &l.EventID, &l.EventType, &l.Seq, &l.Attempts, &l.MaxAttempts, &lease, &l.Envelope)
	l.CreatedAt, l.Lease = created.UnixMicro(), lease.UnixMicro()
	return l, err
}

func readEarliest(results pgx.BatchResults) (map[events.WebhookID]int64, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	next := make(map[events.WebhookID]int64)
	var id events.WebhookID
	var at *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		next[id] = 0
		if at != nil {
			next[id] = at.UnixMicro()
		}
		return nil
	})
	return next, err
}

// A loose scan over the partial index: from one webhook to the next, one
// descent each, however many rows a webhook has.
const discover = `
WITH RECURSIVE found AS (
	(SELECT webhook_id, next_retry_at FROM webhook_subscriber_deliveries
	 WHERE status = 'pending' AND webhook_id >= $1 AND webhook_id <= $2 ORDER BY webhook_id, next_retry_at LIMIT 1)
	UNION ALL
	SELECT n.webhook_id, n.next_retry_at FROM found CROSS JOIN LATERAL (
		SELECT webhook_id, next_retry_at FROM webhook_subscriber_deliveries
		WHERE status = 'pending' AND webhook_id > found.webhook_id AND webhook_id <= $2 ORDER BY webhook_id, next_retry_at LIMIT 1
	) AS n
)
SELECT webhook_id, next_retry_at FROM found`

// Discover gives every webhook of a partition that has pending rows, with its
// earliest next_retry_at (Unix microseconds), leases included.
func Discover(ctx context.Context, pool *pgxpool.Pool, partition int) (map[events.WebhookID]int64, error) {
	first, last := events.PartitionRange(partition)
	rows, err := pool.Query(ctx, discover, [16]byte(first), [16]byte(last))
	if err != nil {
		return nil, fmt.Errorf("discover pending deliveries: %w", err)
	}
	found := make(map[events.WebhookID]int64)
	var id events.WebhookID
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { found[id] = at.UnixMicro(); return nil }); err != nil {
		return nil, fmt.Errorf("discover pending deliveries: %w", err)
	}
	return found, nil
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
CROSS JOIN LATERAL (SELECT id, envelope FROM events WHERE id = w.id AND created_at = w.created_at) AS e`, refs.ids, refs.times)
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
