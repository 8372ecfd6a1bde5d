package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// The bounds of what [Store.Activity] reads.
const (
	// ActivityWebhooks is the most webhooks of one call.
	ActivityWebhooks = 100
	// ActivitySample is the most deliveries of a webhook that are read, over all its
	// buckets. Each bucket reads its equal part, newest first.
	ActivitySample = 1000
	// ActivityWaiting is the most pending deliveries of a webhook that are counted.
	ActivityWaiting = 1000
)

// Bucket counts the deliveries of a webhook, or of several, that were created within a
// stretch of time, by their present status. Tests do not count.
type Bucket struct {
	Start                      time.Time // in UTC
	Delivered, Failed, Pending int
	// Estimated reports whether the bucket had more deliveries than were read. The
	// counts are then those of its newest ones, scaled to its length.
	Estimated bool
}

// Activity is what a webhook has done lately, and what waits.
type Activity struct {
	WebhookID events.WebhookID
	Buckets   []Bucket // oldest first
	// SuccessRate is delivered divided by delivered plus failed, of the deliveries that
	// were read; nil if none has ended.
	SuccessRate *float64
	// Waiting counts pending deliveries of any age, at most [ActivityWaiting].
	// WaitingMore reports whether there are more.
	Waiting     int
	WaitingMore bool
	// NextDue is the earliest time at which a pending delivery is or was due, in UTC;
	// nil if none is pending.
	NextDue *time.Time
}

const activityHooks = `
WITH hooks AS MATERIALIZED (
	SELECT id, created_at FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL AND ($2::uuid[] IS NULL OR id = ANY ($2))
	ORDER BY created_at DESC, id DESC LIMIT $3
)`

// Each bucket of each webhook is one range of the index webhook_subscriber_deliveries_history.
const activityBuckets = activityHooks + `, buckets AS MATERIALIZED (
	SELECT n, date_bin($4::interval, now(), 'epoch') - ($5::int - 1 - n) * $4::interval AS start FROM generate_series(0, $5::int - 1) AS n
)
SELECT h.id, b.start, d.delivered, d.failed, d.pending, d.rows = $6::int,
       date_part('epoch', least(b.start + $4::interval, now()) - d.oldest), date_part('epoch', least(b.start + $4::interval, now()) - b.start)
FROM hooks AS h CROSS JOIN buckets AS b CROSS JOIN LATERAL (
	SELECT count(*) FILTER (WHERE kind <> 'test' AND status = 'delivered') AS delivered, count(*) FILTER (WHERE kind <> 'test' AND status = 'failed') AS failed,
	       count(*) FILTER (WHERE kind <> 'test' AND status = 'pending') AS pending, count(*) AS rows, min(created_at) AS oldest
	FROM (
		SELECT kind, status, created_at FROM fanmail.webhook_subscriber_deliveries
		WHERE webhook_id = h.id AND created_at >= b.start AND created_at < b.start + $4::interval
		ORDER BY created_at DESC, id DESC LIMIT $6::int
	) AS newest
) AS d
ORDER BY h.created_at DESC, h.id DESC, b.start`

// The pending deliveries of each webhook, by the two partial indexes on them.
var activityWaiting = fmt.Sprintf(activityHooks+`
SELECT h.id, p.n + s.n, least(p.due, s.due) FROM hooks AS h
CROSS JOIN LATERAL (SELECT count(*) AS n, min(next_retry_at) AS due FROM (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = h.id AND status = 'pending' AND NOT strict ORDER BY next_retry_at LIMIT %[1]d + 1) AS rows) AS p
CROSS JOIN LATERAL (SELECT count(*) AS n, (array_agg(next_retry_at))[1] AS due FROM (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = h.id AND status = 'pending' AND strict ORDER BY seq, created_at LIMIT %[1]d + 1) AS rows) AS s
ORDER BY h.created_at DESC, h.id DESC`, ActivityWaiting)

// activityNames are the webhooks without what waits.
const activityNames = activityHooks + ` SELECT id, 0, NULL::timestamptz FROM hooks ORDER BY created_at DESC, id DESC`

// Activity returns the activity of webhooks of the tenant, newest webhook first: of the
// named ones, or of the newest [ActivityWebhooks] if none is named. Ids that are not
// the tenant's are left out. There are n buckets of a length each; the last one holds
// the present. more reports whether the tenant has webhooks that were left out for
// their number. Without waiting, what waits is not counted.
func (s *Store) Activity(ctx context.Context, tenant events.TenantID, webhooks []events.WebhookID, waiting bool, length time.Duration, n int) (list []Activity, more bool, err error) {
	if len(webhooks) > ActivityWebhooks {
		return nil, false, &events.FieldError{Field: "webhook_id", Reason: fmt.Sprintf("has %d values; the limit is %d", len(webhooks), ActivityWebhooks)}
	}
	statement := activityNames
	if waiting {
		statement = activityWaiting
	}
	rows, err := s.db.Query(ctx, statement, tenant, webhooks, ActivityWebhooks+1)
	if err != nil {
		return nil, false, fmt.Errorf("count waiting deliveries: %w", err)
	}
	list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Activity, err error) {
		err = row.Scan(&a.WebhookID, &a.Waiting, &a.NextDue)
		a.WaitingMore, a.Waiting, a.NextDue = a.Waiting > ActivityWaiting, min(a.Waiting, ActivityWaiting), utc(a.NextDue)
		return a, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("count waiting deliveries: %w", err)
	}
	if more = len(list) > ActivityWebhooks; more {
		list = list[:ActivityWebhooks]
	}
	if len(list) == 0 {
		return nil, false, nil
	}
	return list, more, s.buckets(ctx, tenant, list, length, n)
}

// buckets sets the buckets and the success rate of each webhook of list.
func (s *Store) buckets(ctx context.Context, tenant events.TenantID, list []Activity, length time.Duration, n int) error {
	of := make(map[events.WebhookID]*Activity, len(list))
	ids := make([]events.WebhookID, len(list))
	for i := range list {
		ids[i], of[list[i].WebhookID] = list[i].WebhookID, &list[i]
	}
	rows, err := s.db.Query(ctx, activityBuckets, tenant, ids, ActivityWebhooks, length, n, max(1, ActivitySample/n))
	if err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	ended := make(map[events.WebhookID][2]int, len(list)) // delivered and failed, as read
	var id events.WebhookID
	var b Bucket
	var span *float64 // the time within which the deliveries that were read were created
	var whole float64
	_, err = pgx.ForEachRow(rows, []any{&id, &b.Start, &b.Delivered, &b.Failed, &b.Pending, &b.Estimated, &span, &whole}, func() error {
		a := of[id]
		e := ended[id]
		ended[id] = [2]int{e[0] + b.Delivered, e[1] + b.Failed}
		out := b
		out.Start = out.Start.UTC()
		if b.Estimated && span != nil {
			out.scale(whole / max(*span, 0.001))
		}
		a.Buckets = append(a.Buckets, out)
		return nil
	})
	if err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	for id, e := range ended {
		if sum := e[0] + e[1]; sum > 0 {
			rate := float64(e[0]) / float64(sum)
			of[id].SuccessRate = &rate
		}
	}
	return nil
}

// scale multiplies the counts by a factor of at least one.
func (b *Bucket) scale(by float64) {
	by = max(by, 1)
	for _, n := range []*int{&b.Delivered, &b.Failed, &b.Pending} {
		*n = int(float64(*n)*by + 0.5)
	}
}
