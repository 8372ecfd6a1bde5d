package dispatch

import (
	"context"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
)

// partitions carries out what ownership decides.
type partitions struct{ d *Dispatcher }

func (p partitions) own(owned [events.Partitions]bool) {
	p.d.input(func(s *scheduler.Scheduler, _ scheduler.Now) { s.Own(owned) })
}

func (p partitions) lease(until time.Time) {
	p.d.input(func(s *scheduler.Scheduler, _ scheduler.Now) { s.Lease(until) })
}

func (p partitions) unrecorded(partition int) int {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	return p.d.sched.Unrecorded(partition)
}

func (p partitions) peers(n int) { p.d.outcomes.peers.Store(int64(n)) }

func (p partitions) receive(ctx context.Context, partition int, t *tenure, started func()) {
	p.d.receive(ctx, partition, t, started)
}
