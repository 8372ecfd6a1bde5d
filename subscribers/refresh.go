package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
)

// Run loads changes every second, and at every hint by [WakeRegistry], until ctx
// ends. It then returns nil. If the database cannot be read, it logs that and keeps
// what it has. It returns an error only if it cannot subscribe to the hints.
func (r *Registry) Run(ctx context.Context) error {
	hints := make(chan *nats.Msg, 1)
	if r.nc != nil {
		sub, err := r.nc.Subscribe(events.WakeWebhooks, func(m *nats.Msg) {
			select {
			case hints <- m:
			default:
			}
		})
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", events.WakeWebhooks, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	failing, forgot := false, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-hints:
		}
		err := r.Load(ctx)
		if err == nil && time.Since(forgot) >= removedCheck {
			forgot, err = time.Now(), r.forget(ctx, removedCheck)
		}
		if err != nil && ctx.Err() == nil && !failing {
			r.log.Warn("cannot read changed webhooks; continuing with those known", zap.Error(err))
		}
		failing = err != nil
	}
}

const (
	// removedCheck is how often a registry looks which removed webhooks have no row any more. It asks about those only
	// that it has known to be removed for as long, so that no read from before the removal is still under way.
	removedCheck = time.Hour
	// removedBatch bounds one such statement.
	removedBatch = 5000
)

// forget drops removed webhooks whose rows the retention has deleted. It asks about those that the registry has known to
// be removed for the time given. The rows of the others are still there: their pending deliveries must end.
func (r *Registry) forget(ctx context.Context, known time.Duration) error {
	var ids []events.WebhookID
	r.mu.RLock()
	for id, at := range r.removed {
		if time.Since(at) >= known {
			if ids = append(ids, id); len(ids) == removedBatch {
				break
			}
		}
	}
	r.mu.RUnlock()
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	rows, err := r.pool.Query(ctx, `SELECT id FROM fanmail.webhooks WHERE id = ANY ($1::uuid[])`, ids)
	if err != nil {
		return fmt.Errorf("look up removed webhooks: %w", err)
	}
	kept := make(map[events.WebhookID]bool)
	var id events.WebhookID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { kept[id] = true; return nil }); err != nil {
		return fmt.Errorf("look up removed webhooks: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if e := r.byID[id]; !kept[id] && e != nil && e.Deleted {
			delete(r.byID, id)
			delete(r.removed, id)
		}
	}
	return nil
}
