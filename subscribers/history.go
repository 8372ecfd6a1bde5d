package subscribers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// DeliveryRow is a row of webhook_subscriber_deliveries. Its payload is the event's
// envelope, which is not part of it. All times are in UTC.
type DeliveryRow struct {
	ID             events.DeliveryID
	WebhookID      events.WebhookID
	EventID        events.ID
	EventType      events.Type
	EventCreatedAt time.Time
	MessageID      string          // "" for none
	Kind           string          // "live", "test" or "replay"
	ReplayID       events.ReplayID // zero unless Kind is "replay"
	Status         string          // "pending", "delivered" or "failed"
	Attempts       int             // made so far
	MaxAttempts    int
	LastStatusCode *int       // nil before the first attempt; 0: no answer came
	LastError      string     // one line; "" for none
	LastAttemptAt  *time.Time // nil before the first attempt
	NextRetryAt    *time.Time // when it is due, or when its lease ends; nil unless pending
	CreatedAt      time.Time
	FinishedAt     *time.Time // nil while pending
	ExpiresAt      time.Time  // a delivery that is still pending then becomes failed
}

// DeliveryFilter selects deliveries. A zero field selects all.
type DeliveryFilter struct {
	Status    string // "pending", "delivered" or "failed"
	EventType events.Type
	Since     time.Time // inclusive
	Until     time.Time // exclusive
}

const deliveryColumns = `id, webhook_id, event_id, event_type, event_created_at, coalesce(message_id, '') AS message_id, kind, replay_id, status,
	attempts, max_attempts, last_status_code, coalesce(last_error, '') AS last_error, last_attempt_at, next_retry_at, created_at, finished_at, expires_at`

// scanDeliveryRow scans the columns named in deliveryColumns.
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

// ListScan is the most rows that one call reads to find those that match a filter.
// It bounds the time of a call, however few of the rows match.
const ListScan = 10_000

// The bound on created_at alone prunes partitions, which a row comparison does
// not. The index webhook_subscriber_deliveries_history gives the order.
const deliveryHistory = ` FROM fanmail.webhook_subscriber_deliveries
	WHERE tenant_id = $1 AND webhook_id = $2 AND created_at <= $3 AND (created_at, id) < ($3, $4) AND created_at >= $5 AND created_at < $6
	ORDER BY created_at DESC, id DESC`

const listDeliveries = `SELECT ` + deliveryColumns + deliveryHistory + ` LIMIT $7`

// The matches among the next ListScan rows and, if these are fewer than asked for,
// the last row read. It is one statement, so that both see the same rows.
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

// statuses are those of a delivery.
var statuses = []string{"pending", "delivered", "failed"}

// check returns an [*events.FieldError] for a value that no delivery can have.
func (f *DeliveryFilter) check() error {
	if wrong := input.Choice(f.Status, statuses); wrong != "" {
		return &events.FieldError{Field: "status", Reason: wrong}
	}
	if f.EventType != "" && !f.EventType.Possible() {
		return (&events.UnknownTypeError{Type: f.EventType}).In("event_type")
	}
	return nil
}

// ListDeliveries returns up to limit deliveries of a webhook after a place, newest
// first. With a filter on status or type it reads at most [ListScan] rows. It then
// also returns the place to continue from; that is zero if limit was reached or
// nothing is left. It returns [ErrNotFound] if the tenant has no such webhook,
// and an [*events.FieldError] for a status or a type that does not exist.
func (s *Store) ListDeliveries(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, f DeliveryFilter, after Place, limit int) ([]DeliveryRow, Place, error) {
	if _, err := s.Get(ctx, tenant, webhook); err != nil {
		return nil, Place{}, err
	}
	if err := f.check(); err != nil {
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
	list, end, err := readPage(rows, filtered)
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
	}
	return list, end, nil
}

// readPage reads the deliveries of a page. With marked rows, each tells whether it is not part of the page but is the
// last one that was read.
func readPage(rows pgx.Rows, marked bool) (list []DeliveryRow, end Place, err error) {
	defer rows.Close()
	for rows.Next() {
		var d DeliveryRow
		last := false
		into := d.columns()
		if marked {
			into = append(into, &last)
		}
		if err := rows.Scan(into...); err != nil {
			return nil, Place{}, err
		}
		if last {
			end = Place{CreatedAt: d.CreatedAt.UTC(), ID: d.ID}
			continue
		}
		list = append(list, d.inUTC())
	}
	return list, end, rows.Err()
}

// deliveryOf returns a tenant's delivery. The error wraps [pgx.ErrNoRows] if there is none.
func deliveryOf(ctx context.Context, db pg.DB, tenant events.TenantID, id events.DeliveryID) (DeliveryRow, error) {
	within := func(from time.Time, length time.Duration) (DeliveryRow, error) {
		rows, err := db.Query(ctx, `SELECT `+deliveryColumns+` FROM fanmail.webhook_subscriber_deliveries
			WHERE tenant_id = $1 AND id = $2 AND created_at >= $3 AND created_at < $4`, tenant, id, from, from.Add(length))
		if err != nil {
			return DeliveryRow{}, err
		}
		return pgx.CollectExactlyOneRow(rows, scanDeliveryRow)
	}
	// An id of ours begins with created_at's millisecond: one partition is read.
	d, err := within(events.CreatedAt(id), time.Millisecond)
	if !errors.Is(err, pgx.ErrNoRows) {
		return d, err
	}
	// An imported delivery has any id: one lookup by key in each partition.
	var at time.Time
	if err := db.QueryRow(ctx, `SELECT created_at FROM fanmail.webhook_subscriber_deliveries
		WHERE tenant_id = $1 AND id = $2 ORDER BY created_at DESC LIMIT 1`, tenant, id).Scan(&at); err != nil {
		return d, err
	}
	return within(at, time.Microsecond)
}

// A live delivery has the creation time of its event, and its id begins with that
// millisecond. The other kinds, of which an event may have any number, are found by an
// index on the event that has them newest first.
const (
	liveOfEvent = ` FROM fanmail.webhook_subscriber_deliveries
		WHERE tenant_id = $1 AND event_id = $2 AND created_at = $3 AND id >= $4 AND id <= $5 AND kind = 'live'`
	othersOfEvent = ` FROM fanmail.webhook_subscriber_deliveries
		WHERE tenant_id = $1 AND event_id = $2 AND created_at >= $3 AND kind <> 'live' ORDER BY created_at DESC, id DESC LIMIT $6`
)

// Each branch has the limit, so that neither reads more than the list can have.
const eventDeliveries = `SELECT * FROM (
	(SELECT ` + deliveryColumns + liveOfEvent + ` ORDER BY created_at DESC, id DESC LIMIT $6)
	UNION ALL
	(SELECT ` + deliveryColumns + othersOfEvent + `)
) AS d ORDER BY created_at DESC, id DESC LIMIT $6`

// EventDeliveries returns up to limit deliveries of an event, of all webhooks,
// newest first. createdAt is the event's creation time, to the microsecond.
func (s *Store) EventDeliveries(ctx context.Context, tenant events.TenantID, event events.ID, createdAt time.Time, limit int) ([]DeliveryRow, error) {
	first, last := idsOf(createdAt)
	rows, err := s.db.Query(ctx, eventDeliveries, tenant, event, createdAt, first, last, limit)
	if err != nil {
		return nil, fmt.Errorf("list an event's deliveries: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanDeliveryRow)
	if err != nil {
		return nil, fmt.Errorf("list an event's deliveries: %w", err)
	}
	return list, nil
}

// idsOf returns the first and the last delivery id of t's millisecond.
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
