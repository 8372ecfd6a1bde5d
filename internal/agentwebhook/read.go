package agentwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retry"
)

// ListScan is the most rows that one call of [List] reads to find those with a status. It bounds the time of a call,
// however few of the rows match.
const ListScan = 10_000

// Statuses are those of a delivery.
var Statuses = []string{"pending", "delivered", "failed"}

// Delivery is the delivery of one mail to its agent's own webhook. All times are in UTC.
type Delivery struct {
	AgentID       string // the agent's address
	MessageID     events.MessageID
	Status        string // one of [Statuses]
	Attempts      int    // made so far
	MaxAttempts   int
	LastError     string     // one line; "" for none
	LastAttemptAt *time.Time // nil before the first attempt
	NextRetryAt   *time.Time // when it is due, or when its lease ends; nil unless pending
	CreatedAt     time.Time  // when the mail was accepted
	ExpiresAt     time.Time  // a delivery that is still pending then becomes failed
}

// Place is a place in a list of deliveries, newest first: behind the delivery with this time and message. The zero value
// is the beginning of a list, and where a call returns a place, the end.
type Place struct {
	CreatedAt time.Time
	ID        events.MessageID
}

// The errors of [Deliverer.DeliverSync] if there is nothing to attempt.
var (
	// ErrNoDelivery means that the tenant has no such message, or that the agent has
	// no webhook of its own.
	ErrNoDelivery = errors.New("no such message, or its agent has no webhook of its own")
	// ErrNotDue means that the message's delivery has ended, is being attempted, or
	// waits for its next attempt.
	ErrNotDue = errors.New("the message's delivery has ended, is being attempted, or waits for its next attempt")
)

// The errors of [Retry] and [Deliverer.DeliverNow] about a delivery that can't be attempted again.
var (
	ErrDelivered = errors.New("the message is delivered already")
	ErrExpired   = errors.New("the time for the delivery of the message is over")
	ErrInFlight  = errors.New("an attempt of the message's delivery is in flight, or about to start")
	ErrAttempts  = fmt.Errorf("a message's delivery has at most %d attempts, and this one has no room for those of a retry", retry.Most)
)

// refusal reports whether an error says why a delivery is not attempted. Other errors are failures.
func refusal(err error) bool {
	return slices.ContainsFunc([]error{ErrNoDelivery, ErrNotDue, ErrDelivered, ErrExpired, ErrInFlight, ErrAttempts}, func(r error) bool { return errors.Is(err, r) })
}

const deliveryColumns = `agent_id, message_id, status, attempts, max_attempts, coalesce(last_error, '') AS last_error, last_attempt_at, next_retry_at, created_at, expires_at`

func (d *Delivery) columns() []any {
	return []any{&d.AgentID, &d.MessageID, &d.Status, &d.Attempts, &d.MaxAttempts, &d.LastError, &d.LastAttemptAt, &d.NextRetryAt, &d.CreatedAt, &d.ExpiresAt}
}

func (d Delivery) inUTC() Delivery {
	d.CreatedAt, d.ExpiresAt = d.CreatedAt.UTC(), d.ExpiresAt.UTC()
	for _, t := range []**time.Time{&d.LastAttemptAt, &d.NextRetryAt} {
		if *t != nil {
			at := (*t).UTC()
			*t = &at
		}
	}
	return d
}

func scanDelivery(row pgx.CollectableRow) (Delivery, error) {
	var d Delivery
	err := row.Scan(d.columns()...)
	return d.inUTC(), err
}

// The comparison of tenants can't use an index, so the lookup goes by the primary key, however many rows a tenant has.
const ofMessage = `message_id = $2 AND tenant_id IS NOT DISTINCT FROM $1 ORDER BY created_at DESC LIMIT 1`

// Get returns the delivery of a tenant's message. The error is [ErrNoDelivery] if there is none: the agent had no webhook
// of its own, or the delivery is no longer kept.
func Get(ctx context.Context, db pg.DB, tenant events.TenantID, message events.MessageID) (Delivery, error) {
	rows, err := db.Query(ctx, `SELECT `+deliveryColumns+` FROM fanmail.webhook_deliveries
		WHERE `+ofMessage, tenant, message)
	if err != nil {
		return Delivery{}, fmt.Errorf("read the delivery of message %s: %w", message, err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDelivery)
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, ErrNoDelivery
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("read the delivery of message %s: %w", message, err)
	}
	return d, nil
}

// The bound on created_at alone prunes partitions, which a row comparison does not. The index webhook_deliveries_history
// gives the order.
const history = ` FROM fanmail.webhook_deliveries
	WHERE tenant_id = $1 AND agent_id = $2 AND created_at <= $3 AND (created_at, message_id) < ($3, $4)
	ORDER BY created_at DESC, message_id DESC`

const listAll = `SELECT ` + deliveryColumns + `, false` + history + ` LIMIT $5`

// The matches among the next ListScan rows and, if these are fewer than asked for, the last row read. It is one
// statement, so that both see the same rows.
var listStatus = fmt.Sprintf(`
WITH wanted AS MATERIALIZED (
	SELECT * FROM (SELECT `+deliveryColumns+history+` LIMIT %[1]d) AS seen WHERE status = $6 ORDER BY created_at DESC, message_id DESC LIMIT $5
)
SELECT *, false FROM wanted
UNION ALL
SELECT *, true FROM (
	SELECT `+deliveryColumns+strings.Replace(history, "WHERE", "WHERE (SELECT count(*) FROM wanted) < $5 AND", 1)+` OFFSET %[1]d - 1 LIMIT 1
) AS last`, ListScan)

// List returns up to limit deliveries of a tenant's agent after a place, newest first; status "" selects all. With a
// status it reads at most [ListScan] rows. It then also returns the place to continue from; that is zero if limit was
// reached or nothing is left. It returns an [*events.FieldError] for a status that does not exist.
func List(ctx context.Context, db pg.DB, tenant events.TenantID, agent, status string, after Place, limit int) ([]Delivery, Place, error) {
	if after.CreatedAt.IsZero() {
		after = Place{CreatedAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: last}
	}
	statement, args := listAll, []any{tenant, agent, after.CreatedAt, after.ID, limit}
	if status != "" {
		if !slices.Contains(Statuses, status) {
			return nil, Place{}, &events.FieldError{Field: "status", Reason: "must be one of " + strings.Join(Statuses, ", ")}
		}
		statement, args = listStatus, append(args, status)
	}
	rows, err := db.Query(ctx, statement, args...)
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries to an agent: %w", err)
	}
	var list []Delivery
	var d Delivery
	var end Place
	isLast := false
	_, err = pgx.ForEachRow(rows, append(d.columns(), &isLast), func() error {
		if isLast {
			end = Place{CreatedAt: d.CreatedAt.UTC(), ID: d.MessageID}
		} else {
			list = append(list, d.inUTC())
		}
		return nil
	})
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries to an agent: %w", err)
	}
	return list, end, nil
}

// last is the last id of a millisecond.
var last = events.MessageID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// A row that a deliverer holds is left alone: its attempt decides.
const retryDelivery = `
UPDATE fanmail.webhook_deliveries SET status = 'pending', next_retry_at = now(), leased = false, finished_at = NULL,
	max_attempts = CASE WHEN status = 'failed' THEN attempts + $3 ELSE max_attempts END
WHERE message_id = $2 AND created_at = $4 AND tenant_id IS NOT DISTINCT FROM $1`

// makeDue makes a delivery that waits or has failed due now. It returns the errors of [Retry].
func makeDue(ctx context.Context, tx pgx.Tx, tenant events.TenantID, message events.MessageID) error {
	var created time.Time
	var status string
	var inFlight, expired, full bool
	err := tx.QueryRow(ctx, `SELECT created_at, status, attempts > $3, leased AND next_retry_at > clock_timestamp(), expires_at <= now() FROM fanmail.webhook_deliveries
		WHERE `+ofMessage+` FOR UPDATE`, tenant, message, retry.Most-retry.MaxAttempts).Scan(&created, &status, &full, &inFlight, &expired)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNoDelivery
	case err != nil:
		return fmt.Errorf("look up the delivery of message %s: %w", message, err)
	case status == "delivered":
		return ErrDelivered
	case status == "pending" && inFlight:
		return ErrInFlight
	case expired:
		return ErrExpired
	case status == "failed" && full:
		return ErrAttempts
	}
	if _, err := tx.Exec(ctx, retryDelivery, tenant, message, retry.MaxAttempts, created); err != nil {
		return fmt.Errorf("retry the delivery of message %s: %w", message, err)
	}
	return nil
}

// Retry makes a delivery that waits or has failed due now, and returns it. A failed one gets as many attempts as a new
// one. The errors are [ErrNoDelivery], [ErrDelivered], [ErrExpired], [ErrInFlight] and [ErrAttempts]. Call [Wake] after the
// commit.
func Retry(ctx context.Context, tx pgx.Tx, tenant events.TenantID, message events.MessageID) (Delivery, error) {
	if err := makeDue(ctx, tx, tenant, message); err != nil {
		return Delivery{}, err
	}
	return Get(ctx, tx, tenant, message)
}
