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

func (d *Dispatcher) pull(ctx context.Context, wants []subscribers.FetchRequest) {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	leased, next, err := subscribers.FetchDue(call, d.pool, wants)
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

// discover searches the owned partitions now and then, one after the other over
// the interval, so that where thousands of webhooks have pending rows it is not
// felt. Those that have come in are searched at once, with all others. A search
// that takes long is repeated less often.
func (d *Dispatcher) discover(ctx context.Context) {
	for atOnce := true; ctx.Err() == nil; {
		var owned []int
		for p, own := range d.sched.partitions() {
			if own {
				owned = append(owned, p)
			}
		}
		gap := discoverEvery / time.Duration(max(len(owned), 1))
		if atOnce || len(owned) == 0 {
			for _, p := range owned {
				d.discoverPartition(ctx, p)
			}
			atOnce = d.sooner(ctx, gap)
			continue
		}
		for _, p := range owned {
			start := time.Now()
			d.discoverPartition(ctx, p)
			if atOnce = d.sooner(ctx, max(gap, 20*time.Since(start))); atOnce {
				break
			}
		}
	}
}

// sooner waits for a while and says false, or true as soon as partitions have
// come in; false, too, when ctx ends.
func (d *Dispatcher) sooner(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return false
	case <-d.owner.claimed:
		return true
	}
}

func (d *Dispatcher) discoverPartition(ctx context.Context, p int) {
	if ctx.Err() != nil {
		return
	}
	found, err := subscribers.FindPending(ctx, d.pool, p)
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
			if err := subscribers.SetStrict(ctx, d.pool, f.WebhookID, e.Strict); err != nil {
				d.log.Warn("a webhook's change of ordering waits", zap.Stringer("webhook", f.WebhookID), zap.Error(err))
				continue
			}
		}
		d.sched.hint(f.WebhookID, e, f.Next)
	}
}
