package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long entries are kept by default.
const Retention = 365 * 24 * time.Hour

// Scan is how many entries one call of [List] looks through for those that match a filter.
const Scan = 10_000

// Entry is one change.
type Entry struct {
	ID        [16]byte
	CreatedAt time.Time
	TenantID  events.TenantID // whose data was changed; zero: the installation
	ActorKind string          // key, member or portal
	ActorID   string          // the key's or link's id, or the member's subject
	ActorName string
	Address   netip.Addr // zero: not known
	Operation string     // the operation's id in the API
	Object    string     // what was changed: an id, an address, a domain; "" for none
	Before    json.RawMessage
	After     json.RawMessage
}

// Insert writes an entry in the transaction of its change.
func Insert(ctx context.Context, tx pg.DB, e Entry) error {
	var address *netip.Addr
	if e.Address.IsValid() {
		address = &e.Address
	}
	_, err := tx.Exec(ctx, `INSERT INTO fanmail.audit_log (id, tenant_id, actor_kind, actor_id, actor_name, address, operation, object, before, after)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		[16]byte(events.NewID()), e.TenantID, e.ActorKind, e.ActorID, e.ActorName, address, e.Operation, e.Object, e.Before, e.After)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// Filter narrows a list of entries; a zero field does not.
type Filter struct {
	TenantID  events.TenantID // zero: all
	Since     time.Time       // inclusive
	Until     time.Time       // exclusive
	Actor     string          // an ActorID or ActorName
	Operation string
	Object    string
}

const columns = `id, created_at, tenant_id, actor_kind, actor_id, actor_name, address, operation, object, before, after`

// The matches among the next entries of a day, and then the last entry looked at, with how
// many were. The index audit_log_tenant gives the order, and the primary key that of all
// tenants.
const ofDay = `
WITH seen AS MATERIALIZED (
	SELECT ` + columns + ` FROM fanmail.audit_log
	WHERE TENANT created_at >= '{day}' AND created_at < '{next day}' AND (created_at, id) < ($1, $2) AND created_at >= $3 AND created_at < $4
	ORDER BY created_at DESC, id DESC LIMIT $5
)
SELECT ` + columns + `, 0 FROM (SELECT * FROM seen WHERE ($7 = '' OR actor_id = $7 OR actor_name = $7) AND ($8 = '' OR operation = $8) AND ($9 = '' OR object = $9)
	ORDER BY created_at DESC, id DESC LIMIT $6) AS wanted
UNION ALL
SELECT ` + columns + `, (SELECT count(*) FROM seen) FROM (SELECT * FROM seen ORDER BY created_at, id LIMIT 1) AS last`

// firstRead is how many entries a filtered list reads first. Each further read is four times
// as large.
const firstRead = 200

// maxDays bounds the days that one call of [List] looks through.
const maxDays = 400

// List returns up to limit entries after a place, newest first. It reads one day with each
// statement, looks through [Scan] entries at most, and stops after [pg.PageBytes] of them. It
// then also returns the place to continue from; that is zero if limit was reached or nothing
// is left.
func List(ctx context.Context, pool *pgxpool.Pool, f Filter, after pg.Place, limit int) ([]Entry, pg.Place, error) {
	days, err := daysOf(ctx, pool, f, after)
	if err != nil {
		return nil, pg.Place{}, err
	}
	var list []Entry
	scan, size, budget := Scan, limit, pg.NewBudget(pg.PageBytes)
	if f.Actor != "" || f.Operation != "" || f.Object != "" {
		size = max(limit, firstRead)
	}
	for i, day := range days {
		if i == maxDays {
			return list, after, nil
		}
		for {
			n := min(size, scan)
			found, end, seen, err := readDay(ctx, pool, budget, day, f, after, n, limit-len(list))
			if err != nil {
				return nil, pg.Place{}, fmt.Errorf("read the audit log: %w", err)
			}
			if list = append(list, found...); len(list) == limit {
				return list, pg.Place{}, nil
			}
			if budget.Cut() {
				if len(found) > 0 {
					after = pg.Place{CreatedAt: found[len(found)-1].CreatedAt, ID: found[len(found)-1].ID}
				}
				return list, after, nil
			}
			if scan -= seen; seen < n {
				break
			}
			if after, size = end, size*4; scan == 0 {
				return list, after, nil
			}
		}
		after = pg.Place{CreatedAt: day.Start()}
	}
	return list, pg.Place{}, nil
}

// daysOf returns the days of the filter that have a partition, newest first.
func daysOf(ctx context.Context, pool *pgxpool.Pool, f Filter, after pg.Place) ([]pg.Day, error) {
	names, err := pg.Partitions(ctx, pool, "audit_log")
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	var days []pg.Day
	for _, name := range slices.Backward(names) {
		start, err := time.Parse("20060102", strings.TrimPrefix(name, "audit_log_"))
		switch {
		case err != nil, !f.Until.IsZero() && !start.Before(f.Until), !after.CreatedAt.IsZero() && start.After(after.CreatedAt):
		case start.Add(24 * time.Hour).After(f.Since):
			days = append(days, pg.DayOf(start))
		}
	}
	return days, nil
}

// readDay looks through up to n entries of a day after a place. It returns up to limit
// matches, the place of the last entry looked at, and how many were.
func readDay(ctx context.Context, db pg.DB, budget *pg.Budget, day pg.Day, f Filter, after pg.Place, n, limit int) (found []Entry, end pg.Place, seen int, err error) {
	at, id := after.Bound()
	since, until := pg.Range(f.Since, f.Until)
	statement, args := strings.ReplaceAll(day.In(ofDay), "TENANT", ""), []any{at, id, since, until, n, limit, f.Actor, f.Operation, f.Object}
	if !f.TenantID.IsZero() {
		statement, args = strings.ReplaceAll(day.In(ofDay), "TENANT", "tenant_id = $10 AND"), append(args, f.TenantID)
	}
	rows, err := db.Query(ctx, statement, args...)
	if err != nil {
		return nil, end, 0, err
	}
	defer rows.Close()
	for rows := budget.Of(rows); rows.Next(); {
		var e Entry
		var address *netip.Addr
		if err := rows.Scan(&e.ID, &e.CreatedAt, &e.TenantID, &e.ActorKind, &e.ActorID, &e.ActorName, &address, &e.Operation, &e.Object, &e.Before, &e.After, &seen); err != nil {
			return nil, end, 0, err
		}
		if seen > 0 {
			end = pg.Place{CreatedAt: e.CreatedAt, ID: e.ID}
			continue
		}
		e.CreatedAt = e.CreatedAt.UTC()
		if address != nil {
			e.Address = *address
		}
		found = append(found, e)
	}
	return found, end, seen, rows.Err()
}

// RetentionRules drops the days of entries that are older than keep; 0 means [Retention].
func RetentionRules(keep time.Duration) []retention.Rule {
	return []retention.Rule{retention.Days("audit_log", cmp.Or(keep, Retention), nil)}
}
