package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

// Retention is how long entries are kept.
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

// The bound on created_at alone prunes partitions, which a row comparison does not. The
// index audit_log_tenant gives the order, and the primary key that of all tenants.
const history = ` FROM fanmail.audit_log
	WHERE TENANT created_at <= $1 AND (created_at, id) < ($1, $2) AND created_at >= $3 AND created_at < $4
	ORDER BY created_at DESC, id DESC`

// The matches among the next Scan entries and, if these are fewer than asked for, the last
// entry looked at.
var list = fmt.Sprintf(`
WITH wanted AS MATERIALIZED (
	SELECT * FROM (SELECT `+columns+history+` LIMIT %[1]d) AS seen
	WHERE ($6 = '' OR actor_id = $6 OR actor_name = $6) AND ($7 = '' OR operation = $7) AND ($8 = '' OR object = $8)
	ORDER BY created_at DESC, id DESC LIMIT $5
)
SELECT *, false FROM wanted
UNION ALL
SELECT *, true FROM (
	SELECT `+columns+strings.Replace(history, "WHERE", "WHERE (SELECT count(*) FROM wanted) < $5 AND", 1)+` OFFSET %[1]d - 1 LIMIT 1
) AS last`, Scan)

// List returns up to limit entries after a place, newest first. It looks through [Scan]
// entries at most. It then also returns the place to continue from; that is zero if limit
// was reached or nothing is left.
func List(ctx context.Context, db pg.DB, f Filter, after pg.Place, limit int) ([]Entry, pg.Place, error) {
	at, id := after.Bound()
	since, until := pg.Range(f.Since, f.Until)
	statement, args := strings.ReplaceAll(list, "TENANT", ""), []any{at, id, since, until, limit, f.Actor, f.Operation, f.Object}
	if !f.TenantID.IsZero() {
		statement, args = strings.ReplaceAll(list, "TENANT", "tenant_id = $9 AND"), append(args, f.TenantID)
	}
	rows, err := db.Query(ctx, statement, args...)
	if err != nil {
		return nil, pg.Place{}, fmt.Errorf("read the audit log: %w", err)
	}
	var found []Entry
	var end pg.Place
	var e Entry
	var address *netip.Addr
	var last bool
	_, err = pgx.ForEachRow(rows, []any{&e.ID, &e.CreatedAt, &e.TenantID, &e.ActorKind, &e.ActorID, &e.ActorName, &address, &e.Operation, &e.Object, &e.Before, &e.After, &last}, func() error {
		if last {
			end = pg.Place{CreatedAt: e.CreatedAt, ID: e.ID}
			return nil
		}
		one := e
		one.CreatedAt, one.Address = e.CreatedAt.UTC(), netip.Addr{}
		if address != nil {
			one.Address = *address
		}
		one.Before, one.After = append(json.RawMessage(nil), e.Before...), append(json.RawMessage(nil), e.After...)
		found = append(found, one)
		return nil
	})
	if err != nil {
		return nil, pg.Place{}, fmt.Errorf("read the audit log: %w", err)
	}
	return found, end, nil
}

// RetentionRules drops the days of entries that are past [Retention].
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Days("audit_log", Retention, nil)}
}
