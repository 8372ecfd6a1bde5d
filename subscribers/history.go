package subscribers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
)

// DeliveryRow is a delivery as it stands in the table, without its payload.
type DeliveryRow struct {
	ID             events.DeliveryID
	WebhookID      events.WebhookID
	EventID        events.ID
	EventType      events.Type
	EventCreatedAt time.Time
	MessageID      string // "" for none
	Kind           string // "live", "test" or "replay"
	ReplayID       events.ReplayID
	Status         string // "pending", "delivered" or "failed"
	Attempts       int
	MaxAttempts    int
	LastStatusCode *int // nil before the first attempt; 0: no answer came
	LastError      string
	LastAttemptAt  *time.Time
	NextRetryAt    *time.Time // nil once final
	CreatedAt      time.Time
	FinishedAt     *time.Time
	ExpiresAt      time.Time
}

// AttemptRow is one POST of a delivery.
type AttemptRow struct {
	Attempt int // from 1
	At      time.Time
	// Duration is nil for a success at the first attempt: it has no row of its
	// own, and the delivery does not record the duration.
	Duration   *time.Duration
	StatusCode int // 0: no answer came
	Reason     string
	Error      string // "" for none
	Response   string // the first bytes of the answer
}

// DeliveryFilter narrows a list of deliveries; a zero field does not.
type DeliveryFilter struct {
	Status    string
	EventType events.Type
	Since     time.Time // inclusive
	Until     time.Time // exclusive
}

const deliveryColumns = `id, webhook_id, event_id, event_type, event_created_at, coalesce(message_id, '') AS message_id, kind, replay_id, status,
	attempts, max_attempts, last_status_code, coalesce(last_error, '') AS last_error, last_attempt_at, next_retry_at, created_at, finished_at, expires_at`

func scanDeliveryRow(row pgx.CollectableRow) (DeliveryRow, error) {
	var d DeliveryRow
	err := row.Scan(d.columns()...)
	return d.inUTC(), err
}

func (d *DeliveryRow) columns() []any {
	return []any{
		&d.ID, &d.WebhookID, &d.EventID, &d.EventType, &d.EventCreatedAt, &d.MessageID, &d.Kind, &d.ReplayID, &d.Status,
		&d.Attempts, &d.MaxAttempts, &d.LastStatusCode, &d.LastError, &d.LastAttemptAt, &d.NextRetryAt, &d.CreatedAt, &d.FinishedAt, &d.ExpiresAt,
	}
}

func (d DeliveryRow) inUTC() DeliveryRow {
	d.EventCreatedAt, d.CreatedAt, d.ExpiresAt = d.EventCreatedAt.UTC(), d.CreatedAt.UTC(), d.ExpiresAt.UTC()
	d.LastAttemptAt, d.NextRetryAt, d.FinishedAt = utc(d.LastAttemptAt), utc(d.NextRetryAt), utc(d.FinishedAt)
	return d
}

// ListScan is how many rows of history one call looks through for those that
// a filter wants. A list whose filter wants few of many is read in more calls
// instead of a longer one.
const ListScan = 10_000

// The bound on created_at alone prunes partitions, which a row comparison does
// not; webhook_subscriber_deliveries_history gives the order.
const deliveryHistory = ` FROM fanmail.webhook_subscriber_deliveries
	WHERE tenant_id = $1 AND webhook_id = $2 AND created_at <= $3 AND (created_at, id) < ($3, $4) AND created_at >= $5 AND created_at < $6
	ORDER BY created_at DESC, id DESC`

const listDeliveries = `SELECT ` + deliveryColumns + deliveryHistory + ` LIMIT $7`

// What a filter wants of the next ListScan rows and, where that is less than
// was asked for, the last row that was looked at. One statement, so that both
// see the same rows.
var listFiltered = fmt.Sprintf(`
WITH wanted AS MATERIALIZED (
	SELECT * FROM (SELECT `+deliveryColumns+deliveryHistory+` LIMIT %[1]d) AS seen
	WHERE ($8 = '' OR status = $8) AND ($9 = '' OR event_type = $9) ORDER BY created_at DESC, id DESC LIMIT $7
)
SELECT *, false FROM wanted
UNION ALL
SELECT *, true FROM (
	SELECT `+deliveryColumns+strings.Replace(deliveryHistory, "WHERE", "WHERE (SELECT count(*) FROM wanted) < $7 AND", 1)+` OFFSET %[1]d - 1 LIMIT 1
) AS last`, ListScan)

// ListDeliveries gives up to limit deliveries of a webhook after a place,
// newest first. Where a filter is set it looks through [ListScan] rows at most
// and then gives, beside what it found, the place to go on from; that is zero
// where limit was reached or nothing is left. It returns [ErrNotFound] where
// the tenant has no such webhook.
func (s *Store) ListDeliveries(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, f DeliveryFilter, after Place, limit int) ([]DeliveryRow, Place, error) {
	if _, err := s.Get(ctx, tenant, webhook); err != nil {
		return nil, Place{}, err
	}
	at, id := after.Bound()
	since, until := pg.Range(f.Since, f.Until)
	statement, args := listDeliveries, []any{tenant, webhook, at, id, since, until, limit}
	filtered := f.Status != "" || f.EventType != ""
	if filtered {
		statement, args = listFiltered, append(args, f.Status, string(f.EventType))
	}
	rows, err := s.db.Query(ctx, statement, args...)
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
	}
	var end Place
	var list []DeliveryRow
	for rows.Next() {
		var d DeliveryRow
		last := false
		into := d.columns()
		if filtered {
			into = append(into, &last)
		}
		if err := rows.Scan(into...); err != nil {
			rows.Close()
			return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
		}
		if last {
			end = Place{CreatedAt: d.CreatedAt.UTC(), ID: d.ID}
			continue
		}
		list = append(list, d.inUTC())
	}
	if err := rows.Err(); err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
	}
	return list, end, nil
}

// GetDelivery gives one delivery, its attempts in order, and the envelope as
// it is POSTed; nil where the event has gone. It returns [ErrNotFound].
func (s *Store) GetDelivery(ctx context.Context, tenant events.TenantID, id events.DeliveryID) (DeliveryRow, []AttemptRow, json.RawMessage, error) {
	fail := func(err error) (DeliveryRow, []AttemptRow, json.RawMessage, error) {
		return DeliveryRow{}, nil, nil, err
	}
	// The id begins with created_at's millisecond: one partition is read.
	ms := events.CreatedAt(id)
	rows, err := s.db.Query(ctx, `SELECT `+deliveryColumns+` FROM fanmail.webhook_subscriber_deliveries
		WHERE tenant_id = $1 AND id = $2 AND created_at >= $3 AND created_at < $4`, tenant, id, ms, ms.Add(time.Millisecond))
	if err != nil {
		return fail(fmt.Errorf("read a delivery: %w", err))
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDeliveryRow)
	if err != nil {
		return fail(found(err, "read a delivery"))
	}
	// The tenant was checked by the statement above.
	rows, err = s.db.Query(ctx, `SELECT attempt, at, duration_ms, status_code, reason, coalesce(error, ''), coalesce(response, '')
		FROM fanmail.webhook_delivery_attempts WHERE delivery_id = $1 AND created_at = $2 ORDER BY at, attempt`, d.ID, d.CreatedAt)
	if err != nil {
		return fail(fmt.Errorf("read attempts: %w", err))
	}
	attempts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (AttemptRow, error) {
		var a AttemptRow
		var ms int64
		err := row.Scan(&a.Attempt, &a.At, &ms, &a.StatusCode, &a.Reason, &a.Error, &a.Response)
		took := time.Duration(ms) * time.Millisecond
		a.At, a.Duration = a.At.UTC(), &took
		return a, err
	})
	if err != nil {
		return fail(fmt.Errorf("read attempts: %w", err))
	}
	if len(attempts) == 0 && d.Status == "delivered" && d.Attempts == 1 && d.LastAttemptAt != nil && d.LastStatusCode != nil {
		attempts = []AttemptRow{{Attempt: 1, At: *d.LastAttemptAt, StatusCode: *d.LastStatusCode, Reason: "delivered"}}
	}
	var event outbox.EventRefs
	event.Add(d.EventID, d.EventCreatedAt)
	envelopes, err := outbox.Envelopes(ctx, s.db, event)
	if err != nil {
		return fail(err)
	}
	return d, attempts, envelopes[d.EventID].Envelope, nil
}

// Live deliveries lie in the event's own instant, their ids in its
// millisecond; the others are found by event.
const eventDeliveries = ` FROM fanmail.webhook_subscriber_deliveries
		WHERE tenant_id = $1 AND event_id = $2 AND created_at = $3 AND id >= $4 AND id <= $5 AND kind = 'live'
	UNION ALL
	SELECT ` + deliveryColumns + ` FROM fanmail.webhook_subscriber_deliveries
		WHERE tenant_id = $1 AND event_id = $2 AND created_at >= $3 AND kind <> 'live'`

// EventDeliveries gives up to limit deliveries of an event, newest first.
func (s *Store) EventDeliveries(ctx context.Context, tenant events.TenantID, event events.ID, createdAt time.Time, limit int) ([]DeliveryRow, error) {
	first, last := idsOf(createdAt)
	rows, err := s.db.Query(ctx, `SELECT `+deliveryColumns+eventDeliveries+` ORDER BY created_at DESC, id DESC LIMIT $6`,
		tenant, event, createdAt, first, last, limit)
	if err != nil {
		return nil, fmt.Errorf("list an event's deliveries: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanDeliveryRow)
	if err != nil {
		return nil, fmt.Errorf("list an event's deliveries: %w", err)
	}
	return list, nil
}

// idsOf gives the first and the last delivery id of t's millisecond.
func idsOf(t time.Time) (first, last events.DeliveryID) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli()))
	copy(first[:6], ms[2:])
	copy(last[:6], ms[2:])
	for i := 6; i < len(last); i++ {
		last[i] = 0xff
	}
	return first, last
}
