package subscribers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retry"
)

// The constants of a delivery.
const (
	// LeaseDuration is how long a fetched row is hidden from other dispatchers.
	LeaseDuration = 5 * time.Minute
	// FirstLease is how long a new row is hidden while its message travels to its
	// lane.
	FirstLease = 30 * time.Second
	// MaxAttempts is the number of attempts of a delivery, and the number that a
	// manual retry adds, unless the webhook has a policy of its own.
	MaxAttempts = retry.MaxAttempts
	// Retention is how long deliveries and their attempts are kept.
	Retention = 30 * 24 * time.Hour
)

// Ref names a row of webhook_subscriber_deliveries.
type Ref struct {
	ID events.DeliveryID
	// CreatedAt is the row's creation time. It determines the partition.
	CreatedAt time.Time
}

func (r Ref) created() time.Time { return r.CreatedAt }

// NewDelivery is a row to insert: one event for one webhook.
type NewDelivery struct {
	Ref
	WebhookID events.WebhookID
	TenantID  events.TenantID
	EventID   events.ID
	EventType events.Type
	MessageID string
	Seq       int64
	// Strict rows are due at once and travel in no message: the dispatcher
	// fetches them in the order of their sequence.
	Strict bool
	// MaxAttempts is the number of attempts of the webhook's policy; 0: [MaxAttempts].
	MaxAttempts int
	// Due rows are due at once too: they are not leased and travel in no message.
	Due bool
	// Waits says that the webhook is paused: nobody needs to hear of the row.
	Waits bool
	// Polled says that the webhook is of [KindPull]: those who poll it hear of the row.
	Polled bool
}

const insertDeliveries = `
INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at,
       next_retry_at, leased, expires_at, seq, max_attempts, event_type, message_id, strict)
SELECT id, created_at, webhook_id, tenant_id, event_id, created_at,
       CASE WHEN strict OR due THEN now() ELSE now() + make_interval(secs => $12) END, NOT (strict OR due), created_at + make_interval(secs => $11),
       seq, attempts, event_type, nullif(message_id, ''), strict
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::bigint[], $9::boolean[], $10::boolean[], $13::smallint[])
     AS t (id, created_at, webhook_id, tenant_id, event_id, event_type, message_id, seq, strict, due, attempts)
ON CONFLICT DO NOTHING`

// QueueInsert adds the statement that inserts the rows to a batch. Rows that exist
// already stay as they are. The lease of the others ends [FirstLease] after the
// batch's now().
func QueueInsert(b *pgx.Batch, rows []NewDelivery) {
	n := len(rows)
	ids := make([]events.DeliveryID, n)
	created := make([]time.Time, n)
	webhooks := make([]events.WebhookID, n)
	tenants := make([]events.TenantID, n)
	evs := make([]events.ID, n)
	types, messages := make([]string, n), make([]string, n)
	seqs := make([]int64, n)
	strict, due := make([]bool, n), make([]bool, n)
	attempts := make([]int16, n)
	for i := range rows {
		r := &rows[i]
		ids[i], created[i], webhooks[i], tenants[i], evs[i] = r.ID, r.CreatedAt, r.WebhookID, r.TenantID, r.EventID
		types[i], messages[i], seqs[i], strict[i] = string(r.EventType), r.MessageID, r.Seq, r.Strict
		due[i], attempts[i] = r.Due, int16(cmp.Or(r.MaxAttempts, MaxAttempts)) //nolint:gosec // small
	}
	b.Queue(insertDeliveries, ids, created, webhooks, tenants, evs, types, messages, seqs, strict, due, Retention.Seconds(), FirstLease.Seconds(), attempts)
}

// Leased is a row that a dispatcher holds a lease of, with what a POST needs.
type Leased struct {
	Ref
	WebhookID   events.WebhookID
	EventID     events.ID
	Seq         int64
	Attempts    int // made so far
	MaxAttempts int
	// IsReplay marks a delivery of a replay or a redelivery. New deliveries go
	// first.
	IsReplay bool
	// Expired says that an earlier lease ran out without an outcome.
	Expired bool
	// Lease is when the lease ends, in Unix microseconds by the database's clock.
	// Renewing or releasing the lease takes this value as a token.
	Lease int64
	// Envelope is nil if the event is past its retention.
	Envelope []byte
	// Traceparent names the span that the attempt is part of; "" if the event is
	// not traced.
	Traceparent string
}

// held is true for rows that a dispatcher holds: an attempt may be in flight. Only the
// holder may end such a row or make it due.
const held = `(leased AND next_retry_at > clock_timestamp())`

// A loose scan over a partial index: from one webhook to the next, one descent
// each, however many rows a webhook has.
const (
	pendingDue = `
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
	pendingStrict = `
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
	// Next is the earliest next_retry_at, or, for a strict webhook, that of the row
	// with the lowest sequence; in Unix microseconds, leases included.
	Next int64
	// Strict says that the rows are marked for strict order.
	Strict bool
}

// FindPending returns every webhook of a partition that has pending rows. A webhook
// whose ordering was changed may be in the result twice.
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
	b.Queue(pendingDue, [16]byte(first), [16]byte(last)).Query(read(false))
	b.Queue(pendingStrict, [16]byte(first), [16]byte(last)).Query(read(true))
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("find pending deliveries: %w", err)
	}
	return found, nil
}

// SetStrict marks a webhook's pending rows by its ordering. Rows that were inserted
// while the ordering was being changed carry the old mark.
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
