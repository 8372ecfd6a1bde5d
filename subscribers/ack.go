package subscribers

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// MaxAckReason bounds the reason of an [AckFailure], in bytes.
const MaxAckReason = 500

// reasonConsumer is the class of the failures that consumers report.
const reasonConsumer = "consumer"

// AckRequest says what a consumer did with polled deliveries: at most [MaxPoll] in all, each named once.
type AckRequest struct {
	Delivered []events.DeliveryID
	// Lease is the [Polled.Lease] under which Failed and Released were polled; they need it. Those that another
	// poll has leased since stay as they are.
	Lease  string
	Failed []AckFailure
	// Released are due again at once, as if they had not been polled.
	Released []events.DeliveryID
}

// AckFailure is a delivery that its consumer could not handle.
type AckFailure struct {
	DeliveryID events.DeliveryID
	// Reason is one line of at most [MaxAckReason] bytes; "": none is given.
	Reason string
}

// AckResult counts what an [AckRequest] did.
type AckResult struct {
	// Delivered and Failed are outcomes that were recorded, and Released ended leases.
	Delivered, Failed, Released int
	// Unchanged deliveries were final already, or are not under the request's lease.
	Unchanged int
	// Due says that others may now be polled: call [WakePolls] after the commit.
	Due bool
}

func (r *AckRequest) ids() []events.DeliveryID {
	ids := append(append([]events.DeliveryID{}, r.Delivered...), r.Released...)
	for _, f := range r.Failed {
		ids = append(ids, f.DeliveryID)
	}
	return ids
}

func (r *AckRequest) check() error {
	fault := func(field, format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	ids := r.ids()
	if n := len(ids); n == 0 || n > MaxPoll {
		return fault("delivery_ids", "has %d deliveries with failed and released; there must be from 1 to %d", n, MaxPoll)
	}
	if len(distinct(ids)) < len(ids) {
		return fault("delivery_ids", "names a delivery twice, with failed and released")
	}
	if r.Lease == "" && len(r.Failed)+len(r.Released) > 0 {
		return fault("lease", "is required with failed and released; it is that of the poll")
	}
	if _, err := leaseEnd(r.Lease); err != nil {
		return fault("lease", "is not that of a poll")
	}
	for i, f := range r.Failed {
		at := fmt.Sprintf("failed[%d].", i)
		if len(f.Reason) > MaxAckReason {
			return fault(at+"reason", "has %d bytes; the limit is %d", len(f.Reason), MaxAckReason)
		}
		if strings.ContainsAny(f.Reason, "\r\n\x00") {
			return fault(at+"reason", "holds a line break or a NUL byte")
		}
		if wrong := input.Text(f.Reason); wrong != "" {
			return fault(at+"reason", "%s", wrong)
		}
	}
	return nil
}

// An id begins with the millisecond of its row's creation: one partition is read for each. "=" would have the planner take
// the index of the webhook's history while there are no statistics.
const readAcked = `
SELECT d.id, d.created_at, d.status, d.attempts, d.max_attempts, d.leased, d.next_retry_at
FROM unnest($3::uuid[], $4::timestamptz[]) AS w (id, at) CROSS JOIN LATERAL (
	SELECT id, created_at, status, attempts, max_attempts, leased, next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE id = w.id AND created_at >= w.at AND created_at < w.at + interval '1 millisecond' AND tenant_id = $1 AND webhook_id IS NOT DISTINCT FROM $2::uuid LIMIT 1 FOR UPDATE) AS d`

// ackedRow is a delivery that a request names.
type ackedRow struct {
	Ref
	pending               bool
	attempts, maxAttempts int
	lease                 int64 // its end in Unix microseconds; 0: it is not leased
}

// Ack records what a consumer did with deliveries of a webhook of [KindPull]. All of the request takes effect, or nothing.
//
//   - A delivery that is reported as delivered is delivered, also after its lease ran out, unless it is final.
//   - A failure counts as an attempt. The delivery is due again by the webhook's schedule, or failed if no attempt is left.
//   - A released delivery is due at once.
//   - A failure and a release count until another poll leases the delivery, also after the lease ran out.
//
// What is final or not under the lease stays as it is, so that a call may be repeated. The error is [ErrNotFound] if the
// tenant has no such webhook or if one of the deliveries is not the webhook's, [ErrPush], or an [*events.FieldError].
func (s *Store) Ack(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, r AckRequest) (AckResult, error) {
	if err := r.check(); err != nil {
		return AckResult{}, err
	}
	var out AckResult
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		in := s.In(tx)
		h, err := in.polledHook(ctx, tenant, webhook)
		if err != nil {
			return err
		}
		if h.strict { // see leaseInOrder
			if _, err := tx.Exec(ctx, lockPolled, webhook); err != nil {
				return fmt.Errorf("lock a webhook that is polled: %w", err)
			}
		}
		rows, err := in.acked(ctx, tenant, webhook, r.ids())
		if err != nil {
			return err
		}
		batch := r.outcomes(&h, webhook, rows)
		out = r.result(batch)
		out.Due = out.Released > 0 || h.strict && out.Delivered > 0
		_, err = WriteOutcomes(ctx, tx, batch)
		return err
	})
	if err != nil {
		return AckResult{}, err
	}
	return out, nil
}

// acked reads the deliveries that a request names. It returns [ErrNotFound] if one is not the webhook's.
func (s *Store) acked(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, ids []events.DeliveryID) (map[events.DeliveryID]ackedRow, error) {
	// Calls lock the rows in one order, so that none waits for another in a circle.
	slices.SortFunc(ids, func(a, b events.DeliveryID) int { return bytes.Compare(a[:], b[:]) })
	times := make([]time.Time, len(ids))
	for i, id := range ids {
		times[i] = events.CreatedAt(id)
	}
	rows, err := s.db.Query(ctx, readAcked, tenant, webhook, ids, times)
	if err != nil {
		return nil, fmt.Errorf("read acknowledged deliveries: %w", err)
	}
	out := make(map[events.DeliveryID]ackedRow, len(ids))
	var d ackedRow
	var status string
	var leased bool
	var lease *time.Time
	_, err = pgx.ForEachRow(rows, []any{&d.ID, &d.CreatedAt, &status, &d.attempts, &d.maxAttempts, &leased, &lease}, func() error {
		d.pending, d.lease = status == "pending", 0
		if leased && lease != nil {
			d.lease = lease.UnixMicro()
		}
		out[d.ID] = d
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read acknowledged deliveries: %w", err)
	}
	if len(out) < len(ids) {
		return nil, ErrNotFound
	}
	return out, nil
}

// outcomes are what the request records of the deliveries that are pending.
func (r *AckRequest) outcomes(h *polledHook, webhook events.WebhookID, rows map[events.DeliveryID]ackedRow) *OutcomeBatch {
	b := &OutcomeBatch{}
	lease, _ := leaseEnd(r.Lease) // checked
	held := func(d ackedRow) bool { return d.pending && d.lease != 0 && d.lease == lease }
	for _, id := range r.Delivered {
		if d := rows[id]; d.pending {
			b.Outcomes = append(b.Outcomes, Outcome{Ref: d.Ref, WebhookID: webhook, Attempt: d.attempts + 1, Delivered: true, Reason: "ok"})
			if h.touchDelivered {
				b.Touch = []events.WebhookID{webhook}
			}
		}
	}
	for _, f := range r.Failed {
		if d := rows[f.DeliveryID]; held(d) {
			attempt := d.attempts + 1
			b.Outcomes = append(b.Outcomes, Outcome{
				Ref: d.Ref, WebhookID: webhook, Attempt: attempt, Lease: d.lease, Error: cmp.Or(f.Reason, "the consumer reported a failure"), Reason: reasonConsumer,
				MaxAttempts: d.maxAttempts, Retry: h.retry.Delay(attempt, d.maxAttempts, 0),
			})
		}
	}
	for _, id := range r.Released {
		if d := rows[id]; held(d) {
			b.Release = append(b.Release, Lease{Ref: d.Ref, Lease: d.lease})
		}
	}
	return b
}

// result counts what is written: the rows are locked.
func (r *AckRequest) result(b *OutcomeBatch) AckResult {
	out := AckResult{Released: len(b.Release)}
	for i := range b.Outcomes {
		if b.Outcomes[i].Delivered {
			out.Delivered++
		} else {
			out.Failed++
		}
	}
	out.Unchanged = len(r.ids()) - out.Delivered - out.Failed - out.Released
	return out
}
