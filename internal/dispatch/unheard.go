package dispatch

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// The broker may keep the messages of a partition and hand none out, or its owner may not
// reach it. The new rows are then under their first lease, and nobody sends them until it
// ends. So the owner takes them from the table while its inbox is silent.
const (
	// messageTakes is how long a message may take to come before its rows are taken.
	messageTakes = time.Second
	// silentRows bounds how many rows of a webhook one search reads. It is more than a lane
	// holds: rows that are held are read too.
	silentRows = 5000
)

// unheard deals with the rows of a partition that are under their first lease although
// their message should have come. While it is not known whether messages come, it asks. While none
// come, it releases the rows that this process does not hold, and has them fetched.
// found are the partition's webhooks with pending rows.
func (d *Dispatcher) unheard(ctx context.Context, in *inbox, found []subscribers.PendingWebhook) error {
	now := d.clock.now()
	began := now.Earliest - messageTakes.Microseconds()
	lease := subscribers.FirstLease.Microseconds()
	var webhooks []events.WebhookID
	waits := false
	for _, f := range found {
		if e := d.registry.Get(f.WebhookID); e == nil || f.Strict || f.Next >= began+lease || in.tenure.formerEnds(max(e.Timeout, AttemptTimeout)) > 0 {
			continue
		}
		webhooks = append(webhooks, f.WebhookID)
		waits = waits || f.Next > now.Latest
	}
	switch {
	case len(webhooks) == 0:
		return nil
	case !in.silent():
		if waits && !in.busy.Load() {
			d.ask(in)
		}
		return nil
	}
	return d.takeLeased(ctx, in, webhooks, began)
}

// takeLeased releases rows whose first lease began under this ownership and before a
// time, unless this process holds them. From then on the messages of such rows must
// prove their lease.
func (d *Dispatcher) takeLeased(ctx context.Context, in *inbox, webhooks []events.WebhookID, began int64) error {
	if !in.taking.TryLock() {
		return nil // two searches run
	}
	defer in.taking.Unlock()
	d.suspect(in.partition, began)
	first := subscribers.FirstLease.Microseconds()
	rows, err := subscribers.FindLeased(ctx, d.pool, webhooks, in.owned+first, began+first, silentRows)
	if err != nil {
		return fmt.Errorf("search partition %d: %w", in.partition, err)
	}
	n, err := d.releaseRows(ctx, in, rows)
	if err != nil || n == 0 {
		return err
	}
	d.metrics.unheard.Add(float64(n))
	if !d.taking.Swap(true) {
		d.log.Warn("the broker hands out no delivery messages: new deliveries are taken from the table until it does",
			zap.Int("partition", in.partition), zap.Int("deliveries", n))
	}
	return nil
}

// releaseRows releases those of a partition's rows that this process does not hold, has them
// fetched, and returns how many they are. It releases none of a partition that is no longer
// this process's.
func (d *Dispatcher) releaseRows(ctx context.Context, in *inbox, rows []subscribers.Leased) (int, error) {
	var release []subscribers.Lease
	due := map[events.WebhookID]bool{}
	d.mu.Lock()
	for i := range rows {
		if r := &rows[i]; !d.sched.Holds(r.ID) {
			release = append(release, subscribers.Lease{Ref: r.Ref, Lease: r.Lease})
			due[r.WebhookID] = true
		}
	}
	d.mu.Unlock()
	if len(release) == 0 {
		return 0, nil
	}
	if mine, err := d.owner.stillOwns(ctx, in.partition); err != nil || !mine || in.tenure.ended() {
		return 0, err
	}
	if _, err := subscribers.WriteOutcomes(ctx, d.pool, &subscribers.OutcomeBatch{Release: release}); err != nil {
		return 0, fmt.Errorf("release deliveries of partition %d: %w", in.partition, err)
	}
	for w := range due {
		d.hint(w)
	}
	return len(release), nil
}
