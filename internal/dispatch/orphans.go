package dispatch

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// orphanRows bounds how many rows of a webhook one search releases; the next one releases more.
const orphanRows = 5000

// takeOrphans releases the rows that an owner before had fetched, once, as soon as none of its attempts can still run. An
// owner that died leaves its leases behind, of up to [subscribers.LeaseDuration]; ownership fences it, so nobody has to
// wait for them. found are the partition's webhooks with pending rows.
func (d *Dispatcher) takeOrphans(ctx context.Context, in *inbox, found []subscribers.PendingWebhook) error {
	if in.tenure == nil || in.tenure.began.Load() == 0 || in.orphans.Load() {
		return nil
	}
	// A lease that this process took ends later than that.
	before := in.tenure.began.Load() + subscribers.LeaseDuration.Microseconds()
	var webhooks []events.WebhookID
	later := false
	for _, f := range found {
		e := d.registry.Get(f.WebhookID)
		switch {
		case f.Strict: // its lease is short
		case e == nil, in.tenure.formerEnds(max(e.Timeout, AttemptTimeout)) > 0:
			later = true
		default:
			webhooks = append(webhooks, f.WebhookID)
		}
	}
	n, err := d.releaseOrphans(ctx, in, webhooks, before)
	if err != nil {
		return fmt.Errorf("release the deliveries that an owner before held: %w", err)
	}
	if !later && n == 0 {
		in.orphans.Store(true)
	}
	return nil
}

func (d *Dispatcher) releaseOrphans(ctx context.Context, in *inbox, webhooks []events.WebhookID, before int64) (int, error) {
	if len(webhooks) == 0 {
		return 0, nil
	}
	rows, err := subscribers.FindHeld(ctx, d.pool, webhooks, before, orphanRows)
	if err != nil {
		return 0, err
	}
	n, err := d.releaseRows(ctx, in, rows)
	if err != nil || n == 0 {
		return 0, err
	}
	d.metrics.orphans.Add(float64(n))
	d.log.Info("released deliveries that an owner before had not finished", zap.Int("partition", in.partition), zap.Int("deliveries", n),
		zap.Duration("owned_for", time.Duration(d.clock.latest()-in.tenure.began.Load())*time.Microsecond))
	return n, nil
}
