package dispatch

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// rescueEvery is how often the owned partitions are searched for rows that no
// message and no memory of this process tells of: rows whose message was lost,
// or whose dispatcher died.
// Partitions whose messages don't come are searched more often; see runSilent.
const rescueEvery = 5 * time.Second

// searchTimeout bounds the search of one partition. It is a statement's own limit.
const searchTimeout = time.Minute

// runRescues searches the owned partitions until ctx ends, one after the other
// over rescueEvery, so that thousands of webhooks with pending rows make no
// burst. Partitions that came in are searched at once, with all others. A
// search that takes long is repeated less often.
func (d *Dispatcher) runRescues(ctx context.Context) {
	for atOnce := true; ctx.Err() == nil; {
		owned := d.ownedPartitions()
		gap := rescueEvery / time.Duration(max(len(owned), 1))
		if atOnce || len(owned) == 0 {
			for _, p := range owned {
				d.rescueLogged(ctx, p)
			}
			atOnce = d.claimedWithin(ctx, gap)
			continue
		}
		for _, p := range owned {
			start := time.Now()
			d.rescueLogged(ctx, p)
			if atOnce = d.claimedWithin(ctx, max(gap, 20*time.Since(start))); atOnce {
				break
			}
		}
	}
}

// claimedWithin waits for a while and returns false, or returns true as soon as
// partitions come in. It returns false, too, when ctx ends.
func (d *Dispatcher) claimedWithin(ctx context.Context, wait time.Duration) bool {
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

func (d *Dispatcher) ownedPartitions() (owned []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, own := range d.sched.Partitions() {
		if own {
			owned = append(owned, p)
		}
	}
	return owned
}

func (d *Dispatcher) rescueLogged(ctx context.Context, partition int) {
	if err := d.rescue(ctx, partition); err != nil && ctx.Err() == nil {
		d.log.Warn("pending deliveries can't be searched for", zap.Int("partition", partition), zap.Error(err))
	}
}

// rescue tells the scheduler of every webhook of a partition that has pending
// rows.
func (d *Dispatcher) rescue(ctx context.Context, partition int) error {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	found, err := subscribers.FindPending(ctx, d.pool, partition)
	if err != nil {
		return fmt.Errorf("search partition %d: %w", partition, err)
	}
	pushed := found[:0] // those whose rows dispatchers lease
	for _, f := range found {
		e := d.registry.Get(f.WebhookID)
		if e == nil || !e.Pull || e.Deleted {
			pushed = append(pushed, f)
		}
		if e == nil {
			continue // not loaded yet; the next search finds it again
		}
		if e.Strict != f.Strict && !e.Deleted {
			if err := subscribers.SetStrict(ctx, d.pool, f.WebhookID, e.Strict); err != nil {
				d.log.Warn("a webhook's rows can't be marked for their ordering yet", zap.Stringer("webhook", f.WebhookID), zap.Error(err))
				continue
			}
		}
		if e.Pull && !e.Deleted {
			continue // its consumers look for themselves
		}
		d.input(func(s *scheduler.Scheduler, now scheduler.Now) { d.due(s, now, f.WebhookID, f.Next) })
	}
	if in := d.inboxes[partition].Load(); in != nil {
		if err := d.takeOrphans(ctx, in, pushed); err != nil {
			return err
		}
		return d.unheard(ctx, in, pushed)
	}
	return nil
}
