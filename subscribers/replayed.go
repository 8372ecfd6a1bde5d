package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Replayed is one event that a replay sends to one webhook.
type Replayed struct {
	WebhookID      events.WebhookID
	EventID        events.ID
	EventType      events.Type
	EventCreatedAt time.Time
	MessageID      string // "" for none
	Seq            int64  // the event's outbox sequence
}

// ReplayRef holds what all deliveries of one replay have in common.
type ReplayRef struct {
	ID       events.ReplayID
	TenantID events.TenantID
	// CreatedAt is the creation time of the replay and of its deliveries.
	CreatedAt time.Time
	// Missed leaves out events that the webhook has received or is about to receive.
	Missed bool
}

// Delivery returns the id of the replay's delivery of an event to a webhook.
func (r *ReplayRef) Delivery(event events.ID, webhook events.WebhookID) events.DeliveryID {
	return events.DeriveDeliveryID(event, webhook, r.ID, r.CreatedAt)
}

// ReplayResult is the result of one [Replayed].
type ReplayResult string

// The results.
const (
	// ReplayCreated means that a delivery was inserted. It is due at once.
	ReplayCreated ReplayResult = "created"
	// ReplayDelivered means that the webhook has received the event, or has a pending
	// delivery of it. Only replays with [ReplayRef.Missed] have this result.
	ReplayDelivered ReplayResult = "already delivered"
	// ReplayKnown means that the replay inserted this delivery before.
	ReplayKnown ReplayResult = "known"
	// ReplayNotFannedOut means that the event is still in the outbox: ask again later.
	ReplayNotFannedOut ReplayResult = "not fanned out yet"
)

// The live delivery has the event's creation time and an id derived from the event,
// so it is found by key. Those of replays and redeliveries are found by event, webhook
// and status: an event may have any number of them.
// See pg.Engine for OFFSET 0.
const deliveredLive = `EXISTS (
	SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d
	WHERE d.id = c.live_id AND d.created_at = c.event_created_at AND d.webhook_id = c.webhook_id AND d.status <> 'failed' OFFSET 0)`

// One lookup for each status: Postgres may take a list of them for a filter, and read all that failed.
var replayedBefore = "(" + replayedWith("pending") + " OR " + replayedWith("delivered") + ")"

func replayedWith(status string) string {
	return `EXISTS (
	SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d
	WHERE d.event_id = c.event_id AND d.webhook_id = c.webhook_id AND d.status = '` + status + `' AND d.kind = 'replay'
	  AND d.created_at >= c.event_created_at AND d.id <> c.id OFFSET 0)`
}

// This lock makes two replays with [ReplayRef.Missed] for one webhook take turns, so
// that the second one sees the deliveries of the first.
const lockReplayed = `SELECT count(pg_advisory_xact_lock(hashtextextended(w::text, 4)))
	FROM (SELECT w FROM unnest($1::uuid[]) AS w ORDER BY w) AS s`

var insertReplayed = `
WITH c AS (
	SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[], $14::boolean[])
		WITH ORDINALITY AS t (id, live_id, webhook_id, event_id, event_created_at, event_type, message_id, seq, waits, n)
), results AS MATERIALIZED (
	SELECT c.*, CASE
		WHEN c.waits THEN 'not fanned out yet'
		WHEN $10 AND ` + deliveredLive + ` THEN 'already delivered'
		WHEN $10 AND ` + replayedBefore + ` THEN 'already delivered'
		ELSE 'created' END AS result
	FROM c
), inserted AS (
	INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at,
	       next_retry_at, expires_at, seq, max_attempts, kind, event_type, message_id, replay_id, strict)
	SELECT j.id, $11, j.webhook_id, $9, j.event_id, j.event_created_at, now(), $11::timestamptz + make_interval(secs => $12),
	       j.seq, w.max_attempts, 'replay', j.event_type, nullif(j.message_id, ''), $13, w.ordering = 'strict'
	FROM results AS j JOIN fanmail.webhooks AS w ON w.id = j.webhook_id AND w.tenant_id = $9
	WHERE j.result = 'created'
	ON CONFLICT DO NOTHING
	RETURNING id
)
SELECT CASE WHEN j.result = 'created' AND b.id IS NULL THEN 'known' ELSE j.result END
FROM results AS j LEFT JOIN inserted AS b ON b.id = j.id ORDER BY j.n`

// InsertReplayed inserts a replay's deliveries of the events and returns a result
// for each, in their order. It locks each webhook until tx ends.
func InsertReplayed(ctx context.Context, tx pgx.Tx, r *ReplayRef, list []Replayed) ([]ReplayResult, error) {
	c := replayedColumns(r, list)
	if r.Missed {
		if _, err := tx.Exec(ctx, lockReplayed, c.distinctWebhooks()); err != nil {
			return nil, fmt.Errorf("lock replayed webhooks: %w", err)
		}
	}
	// A row that has left the outbox does not come back, so "false" still holds in the
	// next statement. A row that leaves meanwhile is handled the next time.
	waits, err := outbox.StillWaiting(ctx, tx, r.TenantID, c.seqs)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, insertReplayed, c.ids, c.lives, c.webhooks, c.events, c.created, c.types, c.messages, c.seqs,
		r.TenantID, r.Missed, r.CreatedAt, Retention.Seconds(), r.ID, waits)
	if err != nil {
		return nil, fmt.Errorf("insert replayed deliveries: %w", err)
	}
	results, err := pgx.CollectRows(rows, pgx.RowTo[ReplayResult])
	if err != nil {
		return nil, fmt.Errorf("insert replayed deliveries: %w", err)
	}
	return results, nil
}

const deliveredOfThese = `
SELECT ` + deliveredLive + ` FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) WITH ORDINALITY AS c (live_id, event_created_at, webhook_id, n) ORDER BY n`

// DeliveredLive reports for each event, in order, whether its live delivery succeeded
// or is pending. A replay with [ReplayRef.Missed] calls it first, because it is cheap
// and excludes most events. [InsertReplayed] then decides.
func DeliveredLive(ctx context.Context, tx pgx.Tx, list []Replayed) ([]bool, error) {
	c := replayedColumns(&ReplayRef{}, list)
	rows, err := tx.Query(ctx, deliveredOfThese, c.lives, c.created, c.webhooks)
	if err != nil {
		return nil, fmt.Errorf("look for live deliveries: %w", err)
	}
	delivered, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	if err != nil {
		return nil, fmt.Errorf("look for live deliveries: %w", err)
	}
	return delivered, nil
}

var reachedOfThese = `
SELECT ` + deliveredLive + ` OR ` + replayedBefore + `
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::uuid[]) WITH ORDINALITY AS c (id, live_id, event_created_at, webhook_id, event_id, n) ORDER BY n`

// Reached reports for each event, in order, whether its webhook needs no delivery of it
// now: it has received the event, has a pending delivery of it, or gets one because the
// event is not fanned out yet.
func Reached(ctx context.Context, db DB, tenant events.TenantID, list []Replayed) ([]bool, error) {
	c := replayedColumns(&ReplayRef{}, list)
	waits, err := outbox.StillWaiting(ctx, db, tenant, c.seqs)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, reachedOfThese, c.ids, c.lives, c.created, c.webhooks, c.events)
	if err != nil {
		return nil, fmt.Errorf("look for deliveries of events: %w", err)
	}
	reached, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	if err != nil {
		return nil, fmt.Errorf("look for deliveries of events: %w", err)
	}
	for i := range reached {
		reached[i] = reached[i] || waits[i]
	}
	return reached, nil
}

// replayed are the arguments of the statements, one column each.
type replayed struct {
	ids, lives      []events.DeliveryID
	webhooks        []events.WebhookID
	events          []events.ID
	created         []time.Time
	types, messages []string
	seqs            []int64
}

func replayedColumns(r *ReplayRef, list []Replayed) *replayed {
	c := &replayed{}
	for i := range list {
		e := &list[i]
		c.ids = append(c.ids, r.Delivery(e.EventID, e.WebhookID))
		c.lives = append(c.lives, events.DeriveDeliveryID(e.EventID, e.WebhookID, events.ReplayID{}, e.EventCreatedAt))
		c.webhooks, c.events, c.created = append(c.webhooks, e.WebhookID), append(c.events, e.EventID), append(c.created, e.EventCreatedAt)
		c.types, c.messages, c.seqs = append(c.types, string(e.EventType)), append(c.messages, e.MessageID), append(c.seqs, e.Seq)
	}
	return c
}

func (c *replayed) distinctWebhooks() []events.WebhookID { return distinct(c.webhooks) }

// ReplayOutcome is the state of a replay's delivery.
type ReplayOutcome struct {
	Status   string // "pending", "delivered" or "failed"
	Attempts int    // made so far
}

const replayOutcomes = `
SELECT id, status, attempts FROM fanmail.webhook_subscriber_deliveries
WHERE id = ANY($1::uuid[]) AND created_at = $2 AND (status <> 'pending' OR attempts > 0)`

// ReplayOutcomes returns the states of deliveries of a replay. The result lacks those
// that are pending and have had no attempt.
func ReplayOutcomes(ctx context.Context, tx pgx.Tx, r *ReplayRef, ids []events.DeliveryID) (map[events.DeliveryID]ReplayOutcome, error) {
	rows, err := tx.Query(ctx, replayOutcomes, ids, r.CreatedAt)
	if err != nil {
		return nil, fmt.Errorf("look at replayed deliveries: %w", err)
	}
	found := make(map[events.DeliveryID]ReplayOutcome, len(ids))
	var id events.DeliveryID
	var o ReplayOutcome
	if _, err := pgx.ForEachRow(rows, []any{&id, &o.Status, &o.Attempts}, func() error { found[id] = o; return nil }); err != nil {
		return nil, fmt.Errorf("look at replayed deliveries: %w", err)
	}
	return found, nil
}

// ReasonCancelled is the last_error of a delivery that ended because its replay was
// cancelled.
const ReasonCancelled = "cancelled"

// A row that a dispatcher holds is in a lane or in flight. Its attempt ends it, or it
// gets a time for the next attempt, and the next call ends it.
const cancelReplayed = `
UPDATE fanmail.webhook_subscriber_deliveries AS d SET status = 'failed', last_error = $3, finished_at = now(), next_retry_at = NULL
FROM (SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries
      WHERE id = ANY($1::uuid[]) AND created_at = $2 AND status = 'pending' AND NOT ` + held + `
      ORDER BY id FOR UPDATE SKIP LOCKED) AS c
WHERE d.id = c.id AND d.created_at = c.created_at
RETURNING d.id`

// CancelReplayed ends pending deliveries of a replay as failed, with the error
// [ReasonCancelled], and returns the ids of those that it ended. It leaves out
// deliveries that a dispatcher holds for an attempt.
func CancelReplayed(ctx context.Context, tx pgx.Tx, r *ReplayRef, ids []events.DeliveryID) ([]events.DeliveryID, error) {
	rows, err := tx.Query(ctx, cancelReplayed, ids, r.CreatedAt, ReasonCancelled)
	if err != nil {
		return nil, fmt.Errorf("cancel replayed deliveries: %w", err)
	}
	ended, err := pgx.CollectRows(rows, pgx.RowTo[events.DeliveryID])
	if err != nil {
		return nil, fmt.Errorf("cancel replayed deliveries: %w", err)
	}
	return ended, nil
}

// ReplayEnded is a delivery of a replay that has ended.
type ReplayEnded struct {
	WebhookID events.WebhookID
	Seq       int64
	Delivered bool // else it failed
}

const replayEnded = `
SELECT webhook_id, seq, status = 'delivered' FROM fanmail.webhook_subscriber_deliveries
WHERE replay_id = $1 AND created_at = $2 AND kind = 'replay' AND finished_at IS NOT NULL AND finished_at > $3
ORDER BY finished_at DESC LIMIT $4`

// EndedOfReplay returns the deliveries of a replay that ended after a time, those that ended last first, at most limit.
func EndedOfReplay(ctx context.Context, db pg.DB, id events.ReplayID, createdAt, after time.Time, limit int) ([]ReplayEnded, error) {
	rows, err := db.Query(ctx, replayEnded, id, createdAt, after, limit)
	if err != nil {
		return nil, fmt.Errorf("look for ended deliveries of a replay: %w", err)
	}
	ended, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ReplayEnded, error) {
		var e ReplayEnded
		err := row.Scan(&e.WebhookID, &e.Seq, &e.Delivered)
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for ended deliveries of a replay: %w", err)
	}
	return ended, nil
}

// One lookup for each replay.
const replaysWithEnded = `
SELECT w.id FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS w (id, created_at, after)
CROSS JOIN LATERAL (
	SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d
	WHERE d.replay_id = w.id AND d.created_at = w.created_at AND d.kind = 'replay' AND d.finished_at IS NOT NULL AND d.finished_at > w.after LIMIT 1
) AS ended`

// ReplaysWithEnded returns those of the replays of which a delivery ended after a time, each with its creation time and
// its time.
func ReplaysWithEnded(ctx context.Context, db pg.DB, ids []events.ReplayID, createdAt, after []time.Time) ([]events.ReplayID, error) {
	rows, err := db.Query(ctx, replaysWithEnded, ids, createdAt, after)
	if err != nil {
		return nil, fmt.Errorf("look for ended deliveries of replays: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[events.ReplayID])
	if err != nil {
		return nil, fmt.Errorf("look for ended deliveries of replays: %w", err)
	}
	return found, nil
}
