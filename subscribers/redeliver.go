package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Redeliver inserts new deliveries of an event, due at once, and returns their
// common replay id. They go to one webhook of the tenant. If webhook is zero, they
// go to every webhook that has had a delivery of the event and still exists. It
// returns [ErrNotFound] if the tenant has no such event or webhook.
func (s *Store) Redeliver(ctx context.Context, tenant events.TenantID, event events.ID, webhook events.WebhookID) (events.ReplayID, []DeliveryRow, error) {
	replay := events.NewRandom[events.ReplayKind]()
	var list []DeliveryRow
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		in := s.In(tx)
		src, _, err := outbox.Find(ctx, tx, tenant, event)
		if err != nil {
			return found(err, "redeliver an event")
		}
		to := []events.WebhookID{webhook}
		if webhook.IsZero() {
			to, err = in.receivers(ctx, tenant, src)
		} else {
			_, err = in.Get(ctx, tenant, webhook)
		}
		if err != nil {
			return err
		}
		list, err = in.insertDue(ctx, tenant, src, "replay", replay, to)
		return err
	})
	if err != nil {
		return events.ReplayID{}, nil, err
	}
	return replay, list, nil
}

// It asks for each webhook, however many deliveries the event has. See pg.Engine for OFFSET 0.
const receiversOfEvent = `SELECT w.id FROM fanmail.webhooks AS w WHERE w.tenant_id = $1 AND w.deleted_at IS NULL AND (
	EXISTS (SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d
		WHERE d.webhook_id = w.id AND d.created_at = $3 AND d.event_id = $2 AND d.kind = 'live' OFFSET 0)
	OR EXISTS (SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d
		WHERE d.event_id = $2 AND d.webhook_id = w.id AND d.kind = 'replay' AND d.created_at >= $3 OFFSET 0)
) ORDER BY w.id`

// receivers returns the webhooks, not deleted, that have had a delivery of the event.
func (s *Store) receivers(ctx context.Context, tenant events.TenantID, src events.Record) ([]events.WebhookID, error) {
	rows, err := s.db.Query(ctx, receiversOfEvent, tenant, src.ID, src.CreatedAt)
	if err != nil {
		return nil, fmt.Errorf("find an event's webhooks: %w", err)
	}
	to, err := pgx.CollectRows(rows, pgx.RowTo[events.WebhookID])
	if err != nil {
		return nil, fmt.Errorf("find an event's webhooks: %w", err)
	}
	return to, nil
}

// insertDue inserts deliveries that are due at once. It must run inside a
// transaction, whose time is their creation time.
func (s *Store) insertDue(ctx context.Context, tenant events.TenantID, src events.Record, kind string, replay events.ReplayID, to []events.WebhookID) ([]DeliveryRow, error) {
	// The ids contain the creation time of the rows.
	var now time.Time
	if err := s.db.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return nil, fmt.Errorf("read the database's clock: %w", err)
	}
	ids := make([]events.DeliveryID, len(to))
	for i, w := range to {
		ids[i] = events.DeriveDeliveryID(src.ID, w, replay, now)
	}
	rows, err := s.db.Query(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at,
			next_retry_at, expires_at, seq, max_attempts, kind, event_type, message_id, replay_id, strict)
		SELECT new.id, now(), new.webhook_id, $1, $2, $3, now(), now() + $4::interval, $5, w.max_attempts, $6, $7, nullif($8, ''), $9, w.ordering = 'strict'
		FROM unnest($10::uuid[], $11::uuid[]) AS new (id, webhook_id) JOIN fanmail.webhooks AS w ON w.id = new.webhook_id AND w.tenant_id = $1
		RETURNING `+deliveryColumns,
		tenant, src.ID, src.CreatedAt, Retention, src.Seq, kind, string(src.Type), src.MessageID, replay, ids, to)
	if err != nil {
		return nil, fmt.Errorf("insert %s deliveries: %w", kind, err)
	}
	list, err := pgx.CollectRows(rows, scanDeliveryRow)
	if err != nil {
		return nil, fmt.Errorf("insert %s deliveries: %w", kind, err)
	}
	return list, nil
}

// Retry makes a delivery due at once. A failed delivery becomes pending again, with as
// many more attempts as its webhook's policy has. Its earlier attempts stay in the log, and the numbers
// of new ones follow theirs. A pending delivery that is due already stays as it is.
//
// It returns [ErrNotFound] if the tenant has no such delivery, [ErrDelivered] if it
// was delivered, [ErrDeleted] if its webhook was deleted, [ErrExpired] if its
// retention is over, [ErrInFlight] if a dispatcher holds it for an attempt, and
// [ErrAttempts] if it failed and has no room for more attempts.
func (s *Store) Retry(ctx context.Context, tenant events.TenantID, id events.DeliveryID) (DeliveryRow, error) {
	d, err := deliveryOf(ctx, s.db, tenant, id)
	if err != nil {
		return DeliveryRow{}, found(err, "read a delivery")
	}
	created := d.CreatedAt
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var status string
		var deleted, expired bool
		var made, more int
		var lease *time.Time // its end, if a dispatcher holds the row
		// clock_timestamp, because the transaction may have waited for the row.
		err := tx.QueryRow(ctx, `SELECT d.status, w.deleted_at IS NOT NULL, d.expires_at <= now(), d.attempts, w.max_attempts,
				CASE WHEN d.leased AND d.next_retry_at > clock_timestamp() THEN d.next_retry_at END
			FROM fanmail.webhook_subscriber_deliveries AS d JOIN fanmail.webhooks AS w ON w.id = d.webhook_id AND w.tenant_id = $1
			WHERE d.tenant_id = $1 AND d.id = $2 AND d.created_at = $3 FOR UPDATE OF d`,
			tenant, id, created).Scan(&status, &deleted, &expired, &made, &more, &lease)
		switch {
		case err != nil:
			return found(err, "read a delivery")
		case status == "delivered":
			return ErrDelivered
		case deleted:
			return ErrDeleted
		case expired:
			return ErrExpired
		case status == "failed" && made+more > retry.Most:
			return ErrAttempts
		case lease != nil:
			return fmt.Errorf("%w; retry it after its lease ends at %s", ErrInFlight, lease.UTC().Format(time.RFC3339))
		}
		rows, err := tx.Query(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'pending', finished_at = NULL, leased = false,
				next_retry_at = least(next_retry_at, now()),
				max_attempts = CASE WHEN status = 'failed' THEN attempts + $4 ELSE max_attempts END
			WHERE tenant_id = $1 AND id = $2 AND created_at = $3 RETURNING `+deliveryColumns, tenant, id, created, more)
		if err != nil {
			return fmt.Errorf("retry a delivery: %w", err)
		}
		if d, err = pgx.CollectExactlyOneRow(rows, scanDeliveryRow); err != nil {
			return fmt.Errorf("retry a delivery: %w", err)
		}
		return nil
	})
	if err != nil {
		return DeliveryRow{}, err
	}
	return d, nil
}
