package outbox

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long events are kept by default, and at most.
const Retention = 30 * 24 * time.Hour

// An event that is not fanned out stays. Its sequence is that of its outbox row.
const deleteOfTenants = `
DELETE FROM fanmail.events AS e USING (
	SELECT x.id, x.created_at FROM unnest($1::uuid[], $2::float8[]) AS t (tenant_id, keep) CROSS JOIN LATERAL (
		SELECT id, created_at FROM fanmail.events AS o WHERE tenant_id = t.tenant_id AND created_at < now() - make_interval(secs => t.keep)
			AND NOT EXISTS (SELECT 1 FROM fanmail.outbox AS w WHERE (w.tenant_id, w.seq) = (t.tenant_id, o.seq))
		ORDER BY created_at LIMIT 500) AS x LIMIT 1000
) AS old WHERE e.id = old.id AND e.created_at = old.created_at`

// RetentionRules are the rules for the tables of this package. Apply them after
// those of the deliveries: an event must be kept as long as its deliveries. An
// event that is not fanned out is kept, whatever its age.
func RetentionRules(p retention.Policy) []retention.Rule {
	return []retention.Rule{
		retention.Days("events", cmp.Or(p.Events, Retention), hasWaiting), retention.Buckets("event_keys"),
		retention.OfTenants("delete old events of tenants", deleteOfTenants, p.Tenants, func(t retention.Tenant) time.Duration { return t.Events }),
	}
}

// hasWaiting keeps a partition with events that are not fanned out.
func hasWaiting(ctx context.Context, db pg.DB, partition string) (waiting bool, err error) {
	err = db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.outbox AS o CROSS JOIN LATERAL (
		SELECT 1 FROM `+pgx.Identifier{"fanmail", partition}.Sanitize()+` WHERE id = o.event_id AND created_at = o.created_at LIMIT 1) AS e)`).Scan(&waiting)
	if err != nil {
		return true, fmt.Errorf("look for events of %s that are not fanned out: %w", partition, err)
	}
	return waiting, nil
}
