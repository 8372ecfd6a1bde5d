package usage

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// day returns the tenant's present day, read from the table at most so long ago.
func (c *Counter) day(ctx context.Context, tenant events.TenantID, age time.Duration) (*day, error) {
	c.mu.Lock()
	d := c.of(tenant)
	now := c.now()
	due := d.touch(now, age)
	if !due && now.Sub(d.read) >= every {
		c.plan()
	}
	c.mu.Unlock()
	if !due {
		return d, nil
	}
	if err := d.lock(ctx); err != nil {
		return d, err
	}
	defer d.unlock()
	c.mu.Lock()
	due, err := d.touch(c.now(), age), d.lately(c.now())
	c.mu.Unlock()
	switch {
	case !due: // somebody was faster
		return d, nil
	case err != nil:
		return d, err
	}
	return d, c.noted(ctx, []*day{d}, c.read(ctx, []*day{d}))
}

// Follow reads what has not been read for a while of these tenants, in one round
// trip. It reports whether each exists.
func (c *Counter) Follow(ctx context.Context, tenants []events.TenantID) (map[events.TenantID]bool, error) {
	var due []*day
	known := make(map[events.TenantID]bool, len(tenants))
	c.mu.Lock()
	for _, t := range tenants {
		if d := c.of(t); d.touch(c.now(), stale) || !d.known {
			due = append(due, d)
		} else if c.now().Sub(d.read) >= every {
			c.plan()
		}
	}
	c.mu.Unlock()
	if err := c.exchange(ctx, due, false); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range tenants {
		d := c.of(t)
		known[t] = d.known
		if !d.known && d.reserved == (Amount{}) {
			delete(c.today, t) // anybody may name tenants that do not exist
		}
	}
	return known, nil
}

// Add counts what was committed.
func (c *Counter) Add(tenant events.TenantID, a Amount) {
	if a == (Amount{}) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(c.of(tenant), a)
}

func (c *Counter) add(d *day, a Amount) {
	d.pending = d.pending.plus(a)
	c.pending[d] = struct{}{}
	c.plan()
}

// Today returns what a tenant has used on this UTC day. What other processes counted
// within the last seconds may be missing.
func (c *Counter) Today(ctx context.Context, tenant events.TenantID) (Amount, error) {
	d, err := c.day(ctx, tenant, every)
	if err != nil {
		return Amount{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.total.plus(d.pending), nil
}

// Room returns an [*OverError] if there is no room for one more event with that many
// bytes. It reserves nothing.
func (c *Counter) Room(ctx context.Context, tenant events.TenantID, bytes int64) error {
	d, err := c.day(ctx, tenant, stale)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return over(d.sum(), Amount{1, max(bytes, 1)}, d.quota)
}

// Reserve takes room for what a transaction is about to commit. It returns an
// [*OverError] if there is none within the tenant's quota; nil means the quota as it
// was last read, a second ago at most for a tenant in use. Every reservation must be settled.
func (c *Counter) Reserve(ctx context.Context, tenant events.TenantID, within *tenancy.Quota, a Amount) (*Reservation, error) {
	return c.reserveWithin(ctx, tenant, within, a, false)
}

// ReservePaced is [Counter.Reserve] for those who can be told to come back soon: it also holds the tenant to its
// events a second in this process.
func (c *Counter) ReservePaced(ctx context.Context, tenant events.TenantID, within *tenancy.Quota, a Amount) (*Reservation, error) {
	return c.reserveWithin(ctx, tenant, within, a, true)
}

func (c *Counter) reserveWithin(ctx context.Context, tenant events.TenantID, within *tenancy.Quota, a Amount, paced bool) (*Reservation, error) {
	d, err := c.day(ctx, tenant, stale)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	quota := d.quota
	if within != nil {
		quota = *within
	}
	if err := over(d.sum(), a, quota); err != nil {
		return nil, err
	}
	if paced {
		if err := d.paced(c.now(), a.Events, quota.Or(tenancy.DefaultQuota()).EventsPerSecond); err != nil {
			return nil, err
		}
	}
	return c.reserve(d, a), nil
}

// paced takes events from the tenant's token bucket, or returns an [*OverError]. More events at once than the bucket
// holds pass if it is full: they would never pass otherwise. c.mu is held.
func (d *day) paced(now time.Time, n, limit int64) error {
	size := int(burst * limit)
	if d.pace == nil || d.pace.Burst() != size { // the operator has changed it
		d.pace = rate.NewLimiter(rate.Limit(limit), size)
	}
	want := int(min(n, int64(size)))
	if d.pace.AllowN(now, want) {
		return nil
	}
	missing := float64(want) - d.pace.TokensAt(now)
	return &OverError{Quota: EventsPerSecond, Limit: limit, Wait: time.Duration(missing / float64(limit) * float64(time.Second))}
}

// Force takes room whatever the quota.
func (c *Counter) Force(tenant events.TenantID, a Amount) *Reservation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reserve(c.of(tenant), a)
}

func (c *Counter) reserve(d *day, a Amount) *Reservation {
	d.reserved = d.reserved.plus(a)
	return &Reservation{counter: c, day: d, amount: a}
}

// Reservation is room for a transaction that has not ended. It counts on the day on
// which it was made.
type Reservation struct {
	counter *Counter
	day     *day
	amount  Amount
}

// Settle ends the reservation with what the transaction committed, which may be
// nothing, or more than was reserved.
func (r *Reservation) Settle(used Amount) {
	c := r.counter
	c.mu.Lock()
	defer c.mu.Unlock()
	r.day.reserved = r.day.reserved.minus(r.amount)
	r.amount = Amount{}
	if used != (Amount{}) {
		c.add(r.day, used)
	}
}
