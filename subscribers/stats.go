package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// The bounds of what [Store.Stats] reads for each webhook.
const (
	// StatsSample is the most deliveries of the window that are read, newest first.
	StatsSample = 1000
	// StatsBacklog is the most pending deliveries that are counted.
	StatsBacklog = 5000
)

// Stats counts the deliveries of one webhook or of a whole tenant. Test deliveries
// are not counted, except in Waiting.
type Stats struct {
	// WebhookID is zero in the tenant's total.
	WebhookID events.WebhookID
	// Since is the creation time of the oldest delivery that was read, in UTC; zero if
	// there was none. It is after the start of the window if Complete is false.
	Since time.Time
	// Complete reports whether all deliveries of the window were read.
	Complete bool
	// Delivered, Failed and Pending count the deliveries that were created in the
	// window, by their present status. Attempts counts their POSTs.
	Delivered, Failed, Pending, Attempts int
	// P50, P95 and P99 are percentiles of the time from a delivery's creation to its
	// recorded success; nil if none succeeded.
	P50, P95, P99 *time.Duration
	// Waiting counts pending deliveries of any age, at most [StatsBacklog] for each
	// webhook. WaitingMore reports whether there are more.
	Waiting     int
	WaitingMore bool
	// OldestDue is the earliest time at which a pending delivery is or was due, in
	// UTC; nil if none is pending.
	OldestDue *time.Time
}

const statsHooks = `
WITH hooks AS MATERIALIZED (
	SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id = $2)
)`

// The newest deliveries of each webhook, by the index
// webhook_subscriber_deliveries_history. date_part yields a float; extract yields a
// numeric, with which the statement takes a quarter longer.
var statsRecent = fmt.Sprintf(statsHooks+`, sample AS MATERIALIZED (
	SELECT h.id AS webhook_id, d.status, d.attempts, d.created_at, d.kind <> 'test' AS counts,
	       CASE WHEN d.status = 'delivered' AND d.kind <> 'test' THEN date_part('epoch', d.finished_at - d.created_at) END AS took
	FROM hooks AS h CROSS JOIN LATERAL (
		SELECT status, attempts, created_at, finished_at, kind FROM fanmail.webhook_subscriber_deliveries
		WHERE webhook_id = h.id AND created_at >= now() - make_interval(secs => $3) AND created_at <= now()
		ORDER BY created_at DESC, id DESC LIMIT %[1]d
	) AS d
)
SELECT webhook_id, min(created_at), count(*) < %[1]d,
       count(*) FILTER (WHERE counts AND status = 'delivered'), count(*) FILTER (WHERE counts AND status = 'failed'),
       count(*) FILTER (WHERE counts AND status = 'pending'), coalesce(sum(attempts) FILTER (WHERE counts), 0),
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY took)
FROM sample
GROUP BY GROUPING SETS ((webhook_id), ())`, StatsSample)

// The pending deliveries of each webhook, by the two partial indexes on them.
var statsWaiting = fmt.Sprintf(statsHooks+`
SELECT h.id, p.n + s.n, least(p.due, s.due) FROM hooks AS h
CROSS JOIN LATERAL (SELECT count(*) AS n, min(next_retry_at) AS due FROM (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = h.id AND status = 'pending' AND NOT strict ORDER BY next_retry_at LIMIT %[1]d + 1) AS rows) AS p
CROSS JOIN LATERAL (SELECT count(*) AS n, (array_agg(next_retry_at))[1] AS due FROM (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = h.id AND status = 'pending' AND strict ORDER BY seq, created_at LIMIT %[1]d + 1) AS rows) AS s`, StatsBacklog)

// Stats returns the total and the counts of each webhook: of one webhook, or of all
// webhooks of the tenant if webhook is zero. window is the time back from now. For
// each webhook it reads at most [StatsSample] deliveries of the window and
// [StatsBacklog] pending ones. It returns [ErrNotFound] if the tenant has no such
// webhook.
func (s *Store) Stats(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, window time.Duration) (Stats, []Stats, error) {
	if !webhook.IsZero() {
		if _, err := s.Get(ctx, tenant, webhook); err != nil {
			return Stats{}, nil, err
		}
	}
	total := Stats{Complete: true}
	list, err := s.waiting(ctx, tenant, webhook, &total)
	if err != nil {
		return Stats{}, nil, err
	}
	return total, list, s.recent(ctx, tenant, webhook, window, &total, list)
}

// waiting counts the pending deliveries of each webhook and adds them to total.
func (s *Store) waiting(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, total *Stats) (list []Stats, err error) {
	rows, err := s.db.Query(ctx, statsWaiting, tenant, webhook)
	if err != nil {
		return nil, fmt.Errorf("count waiting deliveries: %w", err)
	}
	row := Stats{Complete: true}
	_, err = pgx.ForEachRow(rows, []any{&row.WebhookID, &row.Waiting, &row.OldestDue}, func() error {
		w := row
		w.OldestDue = utc(w.OldestDue)
		w.WaitingMore = w.Waiting > StatsBacklog
		w.Waiting = min(w.Waiting, StatsBacklog)
		total.Waiting += w.Waiting
		total.WaitingMore = total.WaitingMore || w.WaitingMore
		if w.OldestDue != nil && (total.OldestDue == nil || w.OldestDue.Before(*total.OldestDue)) {
			total.OldestDue = w.OldestDue
		}
		list = append(list, w)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count waiting deliveries: %w", err)
	}
	return list, nil
}

// recent sets the counts and percentiles of the window in total and in each webhook
// of list.
func (s *Store) recent(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, window time.Duration, total *Stats, list []Stats) error {
	of := make(map[events.WebhookID]*Stats, len(list))
	for i := range list {
		of[list[i].WebhookID] = &list[i]
	}
	rows, err := s.db.Query(ctx, statsRecent, tenant, webhook, window.Seconds())
	if err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	var r Stats
	var since *time.Time
	var complete *bool
	var took []*float64
	_, err = pgx.ForEachRow(rows, []any{&r.WebhookID, &since, &complete, &r.Delivered, &r.Failed, &r.Pending, &r.Attempts, &took}, func() error {
		to := total // the row without a webhook
		if !r.WebhookID.IsZero() {
			if to = of[r.WebhookID]; to == nil { // created since the first statement
				return nil
			}
			to.Complete = to.Complete && *complete
			total.Complete = total.Complete && *complete
		}
		to.Delivered, to.Failed, to.Pending, to.Attempts = r.Delivered, r.Failed, r.Pending, r.Attempts
		if since != nil {
			to.Since = since.UTC()
		}
		to.P50, to.P95, to.P99 = percentiles(took)
		return nil
	})
	if err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	return nil
}

// percentiles converts three percentiles from seconds. NULL becomes nil.
func percentiles(seconds []*float64) (p50, p95, p99 *time.Duration) {
	var out [3]*time.Duration
	for i, s := range seconds {
		if s != nil && i < len(out) {
			d := time.Duration(*s * float64(time.Second))
			out[i] = &d
		}
	}
	return out[0], out[1], out[2]
}
