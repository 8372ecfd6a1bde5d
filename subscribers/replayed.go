package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Replayed is an event that a replay is to send to a webhook.
type Replayed struct {
	WebhookID      events.WebhookID
	EventID        events.ID
	EventType      events.Type
	EventCreatedAt time.Time
	MessageID      string // "" for none
	Seq            int64  // the event's outbox sequence
}

// ReplayRef is what all deliveries of one replay share.
type ReplayRef struct {
	ID       events.ReplayID
	TenantID events.TenantID
	// CreatedAt is the replay's creation time, and its deliveries'.
	CreatedAt time.Time
	// Missed leaves out events that the webhook has received or is about to receive.
	Missed bool
}

// Delivery is the id of the delivery of an event under the replay.
func (r *ReplayRef) Delivery(event events.ID, webhook events.WebhookID) events.DeliveryID {
	return events.DeriveDeliveryID(event, webhook, r.ID, r.CreatedAt)
}

// ReplayResult is the result of one [Replayed].
type ReplayResult string

// The results.
const (
	// ReplayCreated says that its delivery was made, due at once.
	ReplayCreated ReplayResult = "created"
	// ReplayDelivered: the webhook has received the event, or has a pending delivery
	// of it. Only replays in the mode "missed" have this result.
	ReplayDelivered ReplayResult = "already delivered"
	// ReplayKnown says that the replay has made this delivery before.
	ReplayKnown ReplayResult = "known"
	// ReplayNotFannedOut says that the event has yet to be fanned out.
	ReplayNotFannedOut ReplayResult = "not fanned out yet"
)

// The live delivery lies in the event's own instant and is found by its id;
// those of replays and redeliveries by event.
const deliveredLive = `EXISTS (
	SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d
	WHERE d.id = c.live_id AND d.created_at = c.event_created_at AND d.webhook_id = c.webhook_id AND d.status <> 'failed')`

const replayedBefore = `EXISTS (
	SELECT 1 FROM fanmail.webhook_subscriber_deliveries AS d
	WHERE d.event_id = c.event_id AND d.kind <> 'live' AND d.kind = 'replay' AND d.created_at >= c.event_created_at
	  AND d.webhook_id = c.webhook_id AND d.id <> c.id AND d.status <> 'failed')`

// Two replays of what one webhook has missed go one after the other from here,
// so that the second sees what the first has made.
const lockReplayed = `SELECT count(pg_advisory_xact_lock(hashtextextended(w::text, 4)))
	FROM (SELECT w FROM unnest($1::uuid[]) AS w ORDER BY w) AS s`

const insertReplayed = `
WITH c AS (
	SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[], $15::boolean[])
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
	       j.seq, $13, 'replay', j.event_type, nullif(j.message_id, ''), $14, w.ordering = 'strict'
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
	// A row that has left the outbox does not come back, so the answer still holds
	// in the next statement; one that leaves meanwhile is found the next time.
	waits, err := outbox.StillWaiting(ctx, tx, r.TenantID, c.seqs)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, insertReplayed, c.ids, c.lives, c.webhooks, c.events, c.created, c.types, c.messages, c.seqs,
		r.TenantID, r.Missed, r.CreatedAt, Retention.Seconds(), MaxAttempts, r.ID, waits)
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

// DeliveredLive says of each, in their order, whether its live delivery succeeded or
// is pending: a quick look that spares a replay of what was missed most of the
// rest. [InsertReplayed] has the last word.
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

// ReplayOutcome is how far a replay's delivery is.
type ReplayOutcome struct {
	Status   string // "pending", "delivered" or "failed"
	Attempts int
}

const replayOutcomes = `
SELECT id, status, attempts FROM fanmail.webhook_subscriber_deliveries
WHERE id = ANY($1::uuid[]) AND created_at = $2 AND (status <> 'pending' OR attempts > 0)`

// ReplayOutcomes looks at deliveries of a replay; those that have had no
// attempt are absent from the answer.
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

// ReasonCancelled is the error of a delivery whose replay was cancelled before
// it was sent.
const ReasonCancelled = "cancelled"

// What has had no attempt and is leased is in a lane this moment, or on the
// wire; it ends by itself or comes back due.
const cancelReplayed = `
UPDATE fanmail.webhook_subscriber_deliveries AS d SET status = 'failed', last_error = $3, finished_at = now(), next_retry_at = NULL
FROM (SELECT id, created_at FROM fanmail.webhook_subscriber_deliveries
      WHERE id = ANY($1::uuid[]) AND created_at = $2 AND status = 'pending' AND (next_retry_at <= now() OR attempts > 0)
      ORDER BY id FOR UPDATE SKIP LOCKED) AS c
WHERE d.id = c.id AND d.created_at = c.created_at
RETURNING d.id`

// CancelReplayed ends pending deliveries of a replay as failed, with the error
// [ReasonCancelled], and gives those that it ended. One that waits in a lane
// for its first attempt is left to it.
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
