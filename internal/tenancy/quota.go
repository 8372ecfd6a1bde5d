package tenancy

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// Quota is what one tenant may use, with all of its keys together. A zero field
// means the server's default.
type Quota struct {
	RequestsPerSecond int64
	EventStreams      int64
	Keys              int64
	Agents            int64
	Webhooks          int64
	EventsPerSecond   int64 // of requests and of mail, in each process
	EventsPerDay      int64
	BytesPerDay       int64
	ReplaysPerHour    int64
	Domains           int64
	ChangesPerDay     int64 // requests that change something, on a UTC day
	// For how many days rows are kept: events, deliveries with their attempts, and messages with their raw mail.
	EventDays, DeliveryDays, MailDays int64
}

// DefaultQuota is the quota of a tenant for which nothing else is set.
func DefaultQuota() Quota {
	return Quota{
		RequestsPerSecond: 1000, EventStreams: 16, Keys: 100, Agents: 10_000, Webhooks: 50,
		EventsPerSecond: 5000, EventsPerDay: 5_000_000, BytesPerDay: 20 << 30, ReplaysPerHour: 60, Domains: 100, ChangesPerDay: 20_000,
		EventDays: longestDays, DeliveryDays: longestDays, MailDays: longestDays,
	}
}

// fields are the fields in the order of the columns.
func (q *Quota) fields() [14]*int64 {
	return [14]*int64{
		&q.RequestsPerSecond, &q.EventStreams, &q.Keys, &q.Agents, &q.Webhooks, &q.EventsPerDay, &q.BytesPerDay, &q.ReplaysPerHour,
		&q.Domains, &q.ChangesPerDay, &q.EventsPerSecond, &q.EventDays, &q.DeliveryDays, &q.MailDays,
	}
}

// Or returns the quota with defaults in place of zero fields. Deliveries are kept no longer than events.
func (q Quota) Or(defaults Quota) Quota {
	instead := defaults.fields()
	for i, f := range q.fields() {
		if *f == 0 {
			*f = *instead[i]
		}
	}
	q.DeliveryDays = min(q.DeliveryDays, q.EventDays)
	return q
}

// quotaColumns are the fields as text for a SELECT that joins the table as q.
const quotaColumns = `coalesce(q.requests_per_second, 0), coalesce(q.event_streams, 0), coalesce(q.keys, 0), coalesce(q.agents, 0),
	coalesce(q.webhooks, 0), coalesce(q.events_per_day, 0), coalesce(q.bytes_per_day, 0), coalesce(q.replays_per_hour, 0),
	coalesce(q.domains, 0), coalesce(q.changes_per_day, 0), coalesce(q.events_per_second, 0),
	coalesce(q.event_days, 0), coalesce(q.delivery_days, 0), coalesce(q.mail_days, 0)`

func (q *Quota) scan() []any {
	out := make([]any, 0, 14)
	for _, f := range q.fields() {
		out = append(out, f)
	}
	return out
}

// GetQuota returns what is set for a tenant. It returns pgx.ErrNoRows if there is
// no such tenant.
func GetQuota(ctx context.Context, db DB, tenant events.TenantID) (Quota, error) {
	return quotaWhere(ctx, db, tenant, ``)
}

// quotaInUse is [GetQuota] for a tenant that is not deleted.
func quotaInUse(ctx context.Context, db DB, tenant events.TenantID) (Quota, error) {
	return quotaWhere(ctx, db, tenant, ` AND t.deleted_at IS NULL`)
}

func quotaWhere(ctx context.Context, db DB, tenant events.TenantID, condition string) (Quota, error) {
	var q Quota
	err := db.QueryRow(ctx, `SELECT `+quotaColumns+` FROM fanmail.tenants AS t LEFT JOIN fanmail.tenant_quotas AS q ON q.tenant_id = t.id
		WHERE t.id = $1`+condition, tenant).Scan(q.scan()...)
	if err != nil {
		return Quota{}, fmt.Errorf("read a quota: %w", err)
	}
	return q, nil
}

// QueueQuotas adds the lookup of quotas to a batch. When the batch's results are read,
// it sets found[id] for each tenant that is in use, to what is set for it.
func QueueQuotas(b *pgx.Batch, tenants []events.TenantID, found map[events.TenantID]Quota) {
	b.Queue(`SELECT t.id, `+quotaColumns+` FROM fanmail.tenants AS t LEFT JOIN fanmail.tenant_quotas AS q ON q.tenant_id = t.id
		WHERE t.id = ANY($1::uuid[]) AND t.deleted_at IS NULL`, tenants).Query(func(rows pgx.Rows) error {
		var id events.TenantID
		var q Quota
		_, err := pgx.ForEachRow(rows, append([]any{&id}, q.scan()...), func() error { found[id] = q; return nil })
		return err
	})
}

// SetQuota replaces what is set for a tenant. The tenant must exist.
func SetQuota(ctx context.Context, db DB, tenant events.TenantID, q Quota) error {
	args := []any{tenant}
	for _, f := range q.fields() {
		if *f < 0 {
			return errors.New("set a quota: it is negative")
		}
		args = append(args, *f)
	}
	_, err := db.Exec(ctx, `INSERT INTO fanmail.tenant_quotas (tenant_id, requests_per_second, event_streams, keys, agents, webhooks,
			events_per_day, bytes_per_day, replays_per_hour, domains, changes_per_day, events_per_second, event_days, delivery_days, mail_days)
		VALUES ($1, nullif($2::bigint, 0), nullif($3::bigint, 0), nullif($4::bigint, 0), nullif($5::bigint, 0), nullif($6::bigint, 0),
			nullif($7::bigint, 0), nullif($8::bigint, 0), nullif($9::bigint, 0), nullif($10::bigint, 0), nullif($11::bigint, 0), nullif($12::bigint, 0),
			nullif($13::bigint, 0), nullif($14::bigint, 0), nullif($15::bigint, 0))
		ON CONFLICT (tenant_id) DO UPDATE SET requests_per_second = excluded.requests_per_second, event_streams = excluded.event_streams,
			keys = excluded.keys, agents = excluded.agents, webhooks = excluded.webhooks, events_per_day = excluded.events_per_day,
			bytes_per_day = excluded.bytes_per_day, replays_per_hour = excluded.replays_per_hour,
			domains = excluded.domains, changes_per_day = excluded.changes_per_day,
			events_per_second = excluded.events_per_second, event_days = excluded.event_days,
			delivery_days = excluded.delivery_days, mail_days = excluded.mail_days`, args...)
	if err != nil {
		return fmt.Errorf("set a quota: %w", err)
	}
	return nil
}

// CountKeys returns how many keys of a tenant are not revoked. Under [Lock] the
// number is exact until the transaction ends.
func CountKeys(ctx context.Context, db DB, tenant events.TenantID) (n int64, err error) {
	err = db.QueryRow(ctx, `SELECT count(*) FROM fanmail.api_keys WHERE tenant_id = $1 AND revoked_at IS NULL`, tenant).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count keys: %w", err)
	}
	return n, nil
}
