package subscribers

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Bounds of [Store.ListAllDeliveries].
const (
	// ListWebhooks is the most webhooks whose deliveries one list has, and the most deleted ones besides.
	ListWebhooks = 500
	// minScan is the fewest rows of a webhook that one call reads.
	minScan = 20
)

// The webhooks of a tenant, and those that were deleted last: their deliveries can still be read.
const webhooksOfTenant = `
(SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT $2)
UNION ALL
(SELECT id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NOT NULL ORDER BY deleted_at DESC LIMIT $2)`

// The next rows of each webhook. "frontier" is the newest of the places at which a webhook's rows were cut: behind it
// rows may be missing, so the page ends there.
const deliveriesAcross = `
WITH seen AS MATERIALIZED (
	SELECT d.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
		SELECT ` + deliveryColumns + ` FROM fanmail.webhook_subscriber_deliveries
		WHERE tenant_id = $1 AND webhook_id = w.id AND created_at <= $3 AND (created_at, id) < ($3, $4) AND created_at >= $5 AND created_at < $6
		ORDER BY created_at DESC, id DESC LIMIT $7
	) AS d
), ends AS (
	SELECT DISTINCT ON (webhook_id) created_at, id, count(*) OVER (PARTITION BY webhook_id) AS n FROM seen ORDER BY webhook_id, created_at, id
), frontier AS (
	SELECT created_at, id FROM ends WHERE n >= $7 ORDER BY created_at DESC, id DESC LIMIT 1
)
SELECT *, false FROM (
	SELECT * FROM seen WHERE ($9 = '' OR status = $9) AND ($10 = '' OR event_type = $10)
		AND NOT EXISTS (SELECT 1 FROM frontier AS f WHERE (seen.created_at, seen.id) < (f.created_at, f.id))
	ORDER BY created_at DESC, id DESC LIMIT $8
) AS page
UNION ALL
SELECT s.*, true FROM seen AS s JOIN frontier AS f ON s.id = f.id AND s.created_at = f.created_at`

// ListAllDeliveries is [Store.ListDeliveries] for all webhooks of a tenant: up to [ListWebhooks], and as many deleted
// ones. It reads about [ListScan] rows, or twenty of each webhook if that is more. Without a filter, too, a page may
// have fewer rows than limit before the list's end.
func (s *Store) ListAllDeliveries(ctx context.Context, tenant events.TenantID, f DeliveryFilter, after Place, limit int) ([]DeliveryRow, Place, error) {
	if err := f.check(); err != nil {
		return nil, Place{}, err
	}
	rows, err := s.db.Query(ctx, webhooksOfTenant, tenant, ListWebhooks)
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
	}
	hooks, err := pgx.CollectRows(rows, pgx.RowTo[events.WebhookID])
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
	}
	if len(hooks) == 0 {
		return nil, Place{}, nil
	}
	// Without a filter, the first rows of each webhook are enough.
	each := limit
	if f.Status != "" || f.EventType != "" {
		each = ListScan
	}
	each = max(min(each, ListScan/len(hooks)), minScan)
	at, id := after.Bound()
	since, until := pg.Range(f.Since, f.Until)
	rows, err = s.db.Query(ctx, deliveriesAcross, tenant, hooks, at, id, since, until, each, limit, f.Status, string(f.EventType))
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
	}
	list, end, err := readPage(rows, true)
	if err != nil {
		return nil, Place{}, fmt.Errorf("list deliveries: %w", err)
	}
	if len(list) == limit {
		end = Place{}
	}
	return list, end, nil
}
