package dispatch

import (
	"context"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
)

// settle applies what the outcome writer reports, until ctx ends.
func (d *Dispatcher) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-d.outcomes.reports:
			d.apply(ctx, &r)
		}
	}
}

// apply tells the scheduler what was recorded, and acknowledges the messages of
// what this process no longer holds.
func (d *Dispatcher) apply(ctx context.Context, r *report) {
	d.input(func(s *scheduler.Scheduler, now scheduler.Now) {
		for i := range r.entries {
			switch e := &r.entries[i]; e.kind {
			case entryOutcome:
				s.Recorded(now, &e.d.Delivery, e.at)
			case entryRelease:
				s.Recorded(now, &e.d.Delivery, now.Latest+e.d.pause.Microseconds())
			case entryRenew:
				s.Renewed(now, &e.d.Delivery, e.at)
			case entryReclaim:
			}
		}
	})
	reclaimed := false
	for i := range r.entries {
		switch e := &r.entries[i]; {
		case e.kind == entryOutcome, e.kind == entryRelease:
			e.d.finished()
		case e.at == 0: // its lease is somebody else's
			d.metrics.expired.Inc()
			e.d.finished()
		case e.kind == entryReclaim:
			e.d.Lease, e.d.Own = e.at, true
			d.admit(ctx, e.d)
			reclaimed = true
		}
	}
	if reclaimed {
		d.input(func(*scheduler.Scheduler, scheduler.Now) {})
	}
	if r.disabled {
		d.webhooksDisabled(ctx)
	}
	d.outcomes.applied(len(r.entries))
	wake(d.changed)
}

// webhooksDisabled makes this process and all others read the webhooks.
func (d *Dispatcher) webhooksDisabled(ctx context.Context) {
	d.publish(events.WakeWebhooks)
	_ = d.registry.Load(ctx) // else the hint or the registry's next reading brings it
}
