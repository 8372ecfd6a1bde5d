package dispatch

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// sweepLanes and sweepRows bound one lease statement, sweepRoom a lane's
	// part of it.
	sweepLanes = 256
	sweepRows  = 2000
	sweepRoom  = 512

	// discoverEvery is how often the owned partitions are searched for rows
	// that no message and no memory of ours tells of: those whose message was
	// lost, or whose dispatcher died.
	discoverEvery = 5 * time.Second
)

func (d *Dispatcher) pullWake() {
	select {
	case d.pulling <- struct{}{}:
	default:
	}
}

// sweep leases due rows for the lanes that have room, and feeds them straight
// into the lanes: their owner is this process.
func (d *Dispatcher) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.pulling:
		}
		for ctx.Err() == nil && d.owner.may() {
			wants := d.sched.wants(sweepLanes)
			if len(wants) == 0 {
				break
			}
			d.pull(ctx, wants)
		}
	}
}

func (d *Dispatcher) pull(ctx context.Context, wants []subscribers.Want) {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	leased, next, err := subscribers.LeaseDue(call, d.pool, wants)
	if err != nil {
		d.log.Warn("due deliveries can't be leased", zap.Error(err))
		for _, w := range wants {
			d.sched.pulled(w, 0, -1)
		}
		return
	}
	d.metrics.swept.Add(float64(len(leased)))
	rows := make(map[events.WebhookID]int, len(wants))
	for i := range leased {
		q := &delivery{Leased: leased[i], swept: true}
		rows[q.WebhookID]++
		d.enqueue(ctx, q)
	}
	for _, w := range wants {
		d.sched.pulled(w, rows[w.WebhookID], next[w.WebhookID])
	}
	d.fill()
}

// discover searches the owned partitions now and then. A search that takes
// long is repeated less often.
func (d *Dispatcher) discover(ctx context.Context) {
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-d.owner.claimed:
		}
		start := time.Now()
		for p, own := range d.sched.partitions() {
			if own && ctx.Err() == nil {
				d.discoverPartition(ctx, p)
			}
		}
		wait = max(discoverEvery, 20*time.Since(start))
	}
}

func (d *Dispatcher) discoverPartition(ctx context.Context, p int) {
	found, err := subscribers.Discover(ctx, d.pool, p)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("pending deliveries can't be searched for", zap.Error(err))
		}
		return
	}
	for _, f := range found {
		e := d.registry.Get(f.WebhookID)
		if e == nil {
			continue // not loaded yet; the next search finds it again
		}
		if e.Strict != f.Strict && !e.Deleted {
			if err := subscribers.Reline(ctx, d.pool, f.WebhookID, e.Strict); err != nil {
				d.log.Warn("a webhook's change of ordering waits", zap.Stringer("webhook", f.WebhookID), zap.Error(err))
				continue
			}
		}
		d.sched.hint(f.WebhookID, e, f.Next)
	}
}
