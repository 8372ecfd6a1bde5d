package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

const (
	// usageSync is how often a process adds what it has counted to the table, and
	// reads what all processes have.
	usageSync = time.Second
	// usageDays is how long the table keeps a day.
	usageDays = 31
)

// amount is what a tenant has used on a day.
type amount struct{ events, bytes int64 }

// usage counts what tenants use a day. Counting in the table alone would make the
// requests of a tenant wait for each other. So a process counts in memory, and the
// next request after [usageSync] adds that to the table. Until then the other
// processes do not know of it, and a process that is killed forgets it.
type usage struct {
	pool *pgxpool.Pool

	mu       sync.Mutex
	byTenant map[events.TenantID]*used
}

type used struct {
	sync    sync.Mutex // one request at a time talks to the table
	day     time.Time
	synced  time.Time
	total   amount // in the table, at the last sync
	pending amount // not in the table yet
}

func newUsage(pool *pgxpool.Pool) *usage {
	return &usage{pool: pool, byTenant: map[events.TenantID]*used{}}
}

// of returns what a tenant has used today, UTC.
func (u *usage) of(ctx context.Context, tenant events.TenantID) (amount, error) {
	now := time.Now().UTC()
	t, due := u.tenant(tenant, now)
	if due {
		t.sync.Lock()
		defer t.sync.Unlock()
		if err := u.exchange(ctx, tenant, t, now); err != nil {
			return amount{}, err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return amount{t.total.events + t.pending.events, t.total.bytes + t.pending.bytes}, nil
}

// tenant returns a tenant's count, and whether it is due for a sync. A new day
// begins at nothing.
func (u *usage) tenant(id events.TenantID, now time.Time) (t *used, due bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	day := now.Truncate(24 * time.Hour)
	t = u.byTenant[id]
	if t == nil || !t.day.Equal(day) {
		t = &used{day: day}
		u.byTenant[id] = t
	}
	return t, now.Sub(t.synced) >= usageSync
}

// exchange adds what is pending to the table and reads the total.
func (u *usage) exchange(ctx context.Context, tenant events.TenantID, t *used, now time.Time) error {
	u.mu.Lock()
	if now.Sub(t.synced) < usageSync { // another request was faster
		u.mu.Unlock()
		return nil
	}
	adding := t.pending
	u.mu.Unlock()
	var total amount
	err := u.pool.QueryRow(ctx, `INSERT INTO fanmail.tenant_usage AS t (tenant_id, day, events, bytes) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, day) DO UPDATE SET events = t.events + excluded.events, bytes = t.bytes + excluded.bytes
		RETURNING events, bytes`, tenant, t.day, adding.events, adding.bytes).Scan(&total.events, &total.bytes)
	if err != nil {
		return fmt.Errorf("count a tenant's events: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	t.synced, t.total = now, total
	t.pending.events -= adding.events
	t.pending.bytes -= adding.bytes
	return nil
}

// add counts events after their commit.
func (u *usage) add(tenant events.TenantID, n amount) {
	t, _ := u.tenant(tenant, time.Now().UTC())
	u.mu.Lock()
	defer u.mu.Unlock()
	t.pending.events += n.events
	t.pending.bytes += n.bytes
}

// usageRules deletes old days.
func usageRules() []retention.Rule {
	return []retention.Rule{retention.Rows("delete old usage of tenants",
		`DELETE FROM fanmail.tenant_usage WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::integer`, usageDays)}
}
