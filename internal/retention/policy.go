package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

const (
	// Longest is how long an installation may keep rows, and does by default. An idempotency key counts for as long at
	// least, so that the log never holds two events with one id.
	Longest = 30 * day
	// Shortest is the least time. Automatic disabling looks at the failures of 72 hours, and an agent's own webhook gets
	// its mail for 48.
	Shortest = 3 * day

	day = 24 * time.Hour
)

// Policy says how long rows are kept. A zero time is the default of the package that owns the table, 30 days.
type Policy struct {
	Events     time.Duration
	Deliveries time.Duration // not longer than Events
	Attempts   time.Duration // not longer than Deliveries
	Mail       time.Duration // messages and raw mail
	// Tenants lists the tenants that keep rows for a shorter time; nil: there are none.
	Tenants Shorter
}

// Within returns the policy with no time above that of what it depends on.
func (p Policy) Within() Policy {
	p.Deliveries = within(p.Deliveries, p.Events)
	p.Attempts = within(p.Attempts, p.Deliveries)
	return p
}

// within returns the shorter of two times, of which zero stands for the longest.
func within(d, most time.Duration) time.Duration {
	if d == 0 || most != 0 && most < d {
		return most
	}
	return d
}

// Tenant is a tenant that keeps rows for a shorter time than the installation. A zero time is the installation's.
type Tenant struct {
	ID                       events.TenantID
	Events, Deliveries, Mail time.Duration
}

// Shorter returns up to limit tenants that follow one in the order of their ids.
type Shorter func(ctx context.Context, db pg.DB, after events.TenantID, limit int) ([]Tenant, error)

// tenantsAtOnce bounds the tenants of one statement.
const tenantsAtOnce = 200

// OfTenants is a rule for tenants that keep rows for a shorter time, which of selects; zero leaves a tenant out. The
// statement gets the tenants' ids and how long each keeps the rows, in seconds, as $1::uuid[] and $2::float8[]. It runs
// until it affects no row: bound it by a LIMIT.
func OfTenants(name, statement string, list Shorter, of func(Tenant) time.Duration) Rule {
	return Rule{Name: name, run: func(ctx context.Context, pool *pgxpool.Pool) (int, int64, error) {
		if list == nil {
			return 0, 0, nil
		}
		var rows int64
		var after events.TenantID
		for {
			page, err := list(ctx, pool, after, tenantsAtOnce)
			if err != nil {
				return 0, rows, fmt.Errorf("list the tenants that keep rows for a shorter time: %w", err)
			}
			if len(page) == 0 {
				return 0, rows, nil
			}
			after = page[len(page)-1].ID
			n, err := forTenants(ctx, pool, statement, page, of)
			rows += n
			if err != nil {
				return 0, rows, err
			}
		}
	}}
}

func forTenants(ctx context.Context, pool *pgxpool.Pool, statement string, page []Tenant, of func(Tenant) time.Duration) (int64, error) {
	var ids []events.TenantID
	var seconds []float64
	for _, t := range page {
		if keep := of(t); keep > 0 {
			ids, seconds = append(ids, t.ID), append(seconds, keep.Seconds())
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	_, rows, err := Rows("", statement, ids, seconds).run(ctx, pool)
	return rows, err
}
