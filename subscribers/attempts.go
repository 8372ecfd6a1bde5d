package subscribers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/outbox"
)

// AttemptRow is one POST of a delivery.
type AttemptRow struct {
	Attempt int       // from 1
	At      time.Time // in UTC
	// Duration is nil if the first attempt succeeded: such an attempt has no row of
	// its own, and the delivery does not record the duration.
	Duration   *time.Duration
	StatusCode int    // 0: no answer came
	Reason     string // "ok", or the class of the error
	Error      string // one line; "" for none
	Response   string // the first bytes of the answer's body
}

// LoggedAttempts is how many attempts of a delivery are read: the newest. Retries on request add any number.
const LoggedAttempts = 100

// The newest attempts of some deliveries, each delivery's by the primary key of its partition.
const attemptsOf = `
SELECT a.delivery_id, a.attempt, a.at, a.duration_ms, a.status_code, a.reason, coalesce(a.error, ''), coalesce(a.response, '')
FROM unnest($1::uuid[], $2::timestamptz[]) AS d (id, created_at)
CROSS JOIN LATERAL (
	SELECT delivery_id, attempt, at, duration_ms, status_code, reason, error, response FROM fanmail.webhook_delivery_attempts
	WHERE delivery_id = d.id AND created_at = d.created_at ORDER BY attempt DESC, at DESC LIMIT $3
) AS a
ORDER BY a.delivery_id, a.at, a.attempt`

// AttemptsOf returns the newest [LoggedAttempts] attempts of each of these deliveries, which were read before, in order.
// It does not check tenants.
func (s *Store) AttemptsOf(ctx context.Context, list []DeliveryRow) (map[events.DeliveryID][]AttemptRow, error) {
	ids, times := make([]events.DeliveryID, len(list)), make([]time.Time, len(list))
	for i := range list {
		ids[i], times[i] = list[i].ID, list[i].CreatedAt
	}
	rows, err := s.db.Query(ctx, attemptsOf, ids, times, LoggedAttempts)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	out := make(map[events.DeliveryID][]AttemptRow, len(list))
	var id events.DeliveryID
	var a AttemptRow
	var ms int64
	_, err = pgx.ForEachRow(rows, []any{&id, &a.Attempt, &a.At, &ms, &a.StatusCode, &a.Reason, &a.Error, &a.Response}, func() error {
		took := time.Duration(ms) * time.Millisecond
		row := a
		row.At, row.Duration, row.Reason = a.At.UTC(), &took, attempt.Shown(a.Reason)
		out[id] = append(out[id], row)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	for i := range list {
		d := &list[i]
		if len(out[d.ID]) == 0 && d.Status == "delivered" && d.Attempts == 1 && d.LastAttemptAt != nil && d.LastStatusCode != nil {
			out[d.ID] = []AttemptRow{{Attempt: 1, At: *d.LastAttemptAt, StatusCode: *d.LastStatusCode, Reason: attempt.ReasonOK}}
		}
	}
	return out, nil
}

// GetDelivery returns one delivery, its newest [LoggedAttempts] attempts in order, and the
// envelope, which is the body of each POST. The envelope is nil if the event is past its retention.
// It returns [ErrNotFound] if the tenant has no such delivery.
func (s *Store) GetDelivery(ctx context.Context, tenant events.TenantID, id events.DeliveryID) (DeliveryRow, []AttemptRow, json.RawMessage, error) {
	fail := func(err error) (DeliveryRow, []AttemptRow, json.RawMessage, error) {
		return DeliveryRow{}, nil, nil, err
	}
	d, err := deliveryOf(ctx, s.db, tenant, id)
	if err != nil {
		return fail(found(err, "read a delivery"))
	}
	// The tenant was checked by the statement above.
	logs, err := s.AttemptsOf(ctx, []DeliveryRow{d})
	if err != nil {
		return fail(err)
	}
	var event outbox.EventRefs
	event.Add(d.EventID, d.EventCreatedAt)
	envelopes, err := outbox.Envelopes(ctx, s.db, event)
	if err != nil {
		return fail(err)
	}
	return d, logs[d.ID], envelopes[d.EventID].Envelope, nil
}
