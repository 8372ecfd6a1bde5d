package usage

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// days is how long the table keeps a day.
	days = 31
	// exchanged is the most tenants of one statement.
	exchanged = 1000
	// timeout bounds one exchange with the table.
	timeout = 10 * time.Second
)

// The rows are locked in the order of their key, so that two processes cannot
// deadlock. No number overflows: an error would keep the other tenants' rows out.
const addRows = `INSERT INTO fanmail.tenant_usage AS t (tenant_id, day, events, bytes)
	SELECT tenant_id, day, least(sum(events), 9223372036854775807)::bigint, least(sum(bytes), 9223372036854775807)::bigint
	FROM unnest($1::uuid[], $2::date[], $3::bigint[], $4::bigint[]) AS u (tenant_id, day, events, bytes)
	GROUP BY tenant_id, day ORDER BY tenant_id, day
	ON CONFLICT (tenant_id, day) DO UPDATE SET
		events = least(t.events::numeric + excluded.events, 9223372036854775807)::bigint,
		bytes = least(t.bytes::numeric + excluded.bytes, 9223372036854775807)::bigint`

const readRows = `SELECT tenant_id, events, bytes FROM fanmail.tenant_usage WHERE tenant_id = ANY($1::uuid[]) AND day = $2`

// exchange adds what is pending of the days to the table, and reads those that are
// in use. Unless it is to insist, it fails with an exchange that failed a moment ago.
func (c *Counter) exchange(ctx context.Context, of []*day, insist bool) error {
	slices.SortFunc(of, func(a, b *day) int {
		return cmp.Or(bytes.Compare(a.tenant[:], b.tenant[:]), a.begin.Compare(b.begin))
	})
	for some := range slices.Chunk(slices.Compact(of), exchanged) {
		if err := c.exchangeSome(ctx, some, insist); err != nil {
			return err
		}
	}
	return nil
}

func (c *Counter) exchangeSome(ctx context.Context, of []*day, insist bool) error {
	locked := 0
	defer func() {
		for _, d := range of[:locked] {
			d.unlock()
		}
	}()
	for ; locked < len(of); locked++ {
		if err := of[locked].lock(ctx); err != nil {
			return err
		}
	}
	if !insist {
		if err := c.lately(of); err != nil {
			return err
		}
	}
	return c.noted(ctx, of, c.exchangeLocked(ctx, of))
}

// lately returns the error of an exchange about one of the days that failed a moment ago.
func (c *Counter) lately(of []*day) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range of {
		if err := d.lately(c.now()); err != nil {
			return err
		}
	}
	return nil
}

// noted remembers how an exchange about the days went, and returns its error. A caller that has left says nothing about
// the table.
func (c *Counter) noted(ctx context.Context, of []*day, err error) error {
	if err != nil && ctx.Err() != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range of {
		d.failed, d.failure = c.now(), err
	}
	return err
}

func (c *Counter) exchangeLocked(ctx context.Context, of []*day) error {
	if err := c.write(ctx, of); err != nil {
		return err
	}
	c.mu.Lock()
	present := c.now().UTC().Truncate(24 * time.Hour)
	inUse := slices.DeleteFunc(slices.Clone(of), func(d *day) bool { return d.used.IsZero() || !d.begin.Equal(present) })
	c.mu.Unlock()
	return c.read(ctx, inUse)
}

// write adds what is pending of the days to the table.
func (c *Counter) write(ctx context.Context, of []*day) error {
	var tenants []events.TenantID
	var at []time.Time
	var evs, size []int64
	adding := make(map[*day]Amount)
	c.mu.Lock()
	for _, d := range of {
		if d.pending == (Amount{}) {
			continue
		}
		adding[d] = d.pending
		tenants, at = append(tenants, d.tenant), append(at, d.begin)
		evs, size = append(evs, d.pending.Events), append(size, d.pending.Bytes)
	}
	c.mu.Unlock()
	if len(adding) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := c.pool.Exec(ctx, addRows, tenants, at, evs, size); err != nil {
		return fmt.Errorf("count tenants' events: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for d, a := range adding {
		d.total, d.pending = d.total.plus(a), d.pending.minus(a)
		if d.pending == (Amount{}) {
			delete(c.pending, d)
		}
	}
	return nil
}

// read reads the totals and quotas of days, which are the same day.
func (c *Counter) read(ctx context.Context, of []*day) error {
	if len(of) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tenants := make([]events.TenantID, len(of))
	for i, d := range of {
		tenants[i] = d.tenant
	}
	totals, quotas := make(map[events.TenantID]Amount), make(map[events.TenantID]tenancy.Quota)
	b := &pgx.Batch{}
	b.Queue(readRows, tenants, of[0].begin).Query(func(rows pgx.Rows) error {
		var t events.TenantID
		var a Amount
		_, err := pgx.ForEachRow(rows, []any{&t, &a.Events, &a.Bytes}, func() error { totals[t] = a; return nil })
		return err
	})
	tenancy.QueueQuotas(b, tenants, quotas)
	if err := c.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("read tenants' use of their quotas: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range of {
		d.read, d.total = c.now(), totals[d.tenant]
		d.quota, d.known = quotas[d.tenant]
	}
	return nil
}

// plan plans the next exchange, if none is. c.mu is held.
func (c *Counter) plan() {
	if c.planned == nil && !c.closed {
		c.planned = time.AfterFunc(every, c.flushDue)
	}
}

// flushDue is the planned exchange. Nobody waits for it, so it has no caller's context.
func (c *Counter) flushDue() { c.Flush(context.Background()) }

// Flush adds all that was counted to the table. If that fails, it is logged, and done
// again with what is counted next.
func (c *Counter) Flush(ctx context.Context) {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	c.planned = nil
	var due []*day
	for d := range c.pending {
		due = append(due, d)
	}
	now := c.now()
	for t, d := range c.today {
		_, adding := c.pending[d]
		switch {
		case !adding && d.reserved == (Amount{}) && now.Sub(d.used) > forget:
			delete(c.today, t)
		case !adding && d.used.After(d.read):
			due = append(due, d)
		}
	}
	c.mu.Unlock()
	if err := c.exchange(ctx, due, true); err != nil {
		c.log.Warn("cannot count tenants' events; the next exchange does it", zap.Error(err))
	}
}

// Close adds what is left to the table. What is counted afterwards is lost.
func (c *Counter) Close() {
	c.mu.Lock()
	c.closed = true
	if c.planned != nil {
		c.planned.Stop()
	}
	c.mu.Unlock()
	c.Flush(context.Background())
}

// RetentionRules deletes old days.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("delete old usage of tenants",
		`DELETE FROM fanmail.tenant_usage WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::integer`, days)}
}
