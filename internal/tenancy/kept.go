package tenancy

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

const (
	day         = 24 * time.Hour
	longestDays = int64(retention.Longest / day)
)

// Shorter lists the tenants that keep rows for a shorter time than the installation; it is a [retention.Shorter].
func Shorter(ctx context.Context, db pg.DB, after events.TenantID, limit int) ([]retention.Tenant, error) {
	rows, err := db.Query(ctx, `SELECT tenant_id, coalesce(event_days, 0), coalesce(least(delivery_days, event_days), 0), coalesce(mail_days, 0)
		FROM fanmail.tenant_quotas WHERE coalesce(event_days, delivery_days, mail_days) IS NOT NULL AND tenant_id > $1 ORDER BY tenant_id LIMIT $2`, [16]byte(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list tenants by how long they keep rows: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t retention.Tenant, err error) {
		var ev, deliveries, mail int64
		err = row.Scan(&t.ID, &ev, &deliveries, &mail)
		t.Events, t.Deliveries, t.Mail = time.Duration(ev)*day, time.Duration(deliveries)*day, time.Duration(mail)*day
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("list tenants by how long they keep rows: %w", err)
	}
	return list, nil
}
