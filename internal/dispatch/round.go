package dispatch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
)

// roundPartitions are the partitions of one round, which receives no messages.
type roundPartitions struct{ partitions }

func (roundPartitions) receive(ctx context.Context, _ int, _ *tenure, started func()) {
	started()
	<-ctx.Done()
}

// Round attempts every delivery that is due now, once, and returns when the
// outcomes are recorded. It needs no broker, and may not be called while Run or
// another Round does. It owns the partitions that are free meanwhile.
//
// Rows that become due during the round belong to it. Rows whose lane holds
// them back stay in the table: those of webhooks that are disabled, that have
// reached their rate limit, or that rest after Retry-After or failures. When
// ctx ends, Round cuts the attempts in flight short, releases what is queued,
// and returns the cause.
func (d *Dispatcher) Round(ctx context.Context) error {
	if err := d.registry.Load(ctx); err != nil {
		return fmt.Errorf("a round of deliveries: load the webhooks: %w", err)
	}
	d.watchWebhooks()
	d.mu.Lock()
	d.attempts, d.cut = context.WithCancelCause(context.WithoutCancel(ctx))
	cut := d.cut
	d.mu.Unlock()
	defer cut(attempt.ErrStopped)

	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stop()
	workers.Go(func() { d.outcomes.run(base) })
	workers.Go(func() { d.settle(base) })
	workers.Go(func() { d.runFetches(base) })
	workers.Go(func() { d.runTimer(base.Done()) })

	holder := roundPartitions{partitions{d}}
	err := d.owner.beat(ctx, holder)
	if err == nil {
		beats, stopBeats := context.WithCancel(base)
		var owner sync.WaitGroup
		owner.Go(func() { d.owner.run(beats, holder) })
		err = d.attemptDue(ctx)
		if err != nil {
			cut(attempt.ErrStopped)
		}
		stopBeats()
		owner.Wait()
	}
	if closeErr := d.closeRound(base, holder); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("a round of deliveries: %w", err)
	}
	return nil
}

// attemptDue attempts what is due until a search has led to nothing more. What is due and has to wait may be waiting for
// as long as the round lasts, such as a strict line for an event that is not fanned out.
func (d *Dispatcher) attemptDue(ctx context.Context) error {
	for {
		before := d.leased()
		for _, p := range d.ownedPartitions() {
			if err := d.rescue(ctx, p); err != nil {
				return err
			}
		}
		for !d.settled() {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-d.changed:
			}
		}
		if d.leased() == before {
			return nil
		}
	}
}

func (d *Dispatcher) leased() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Leased()
}

// settled says that nothing that may go now is left, in lanes or unrecorded.
func (d *Dispatcher) settled() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Settled(d.clock.now()) && d.outcomes.idle()
}

// closeRound gives up all partitions, once nothing is held any more.
func (d *Dispatcher) closeRound(ctx context.Context, holder partitionHolder) error {
	ctx, cancel := context.WithTimeout(ctx, d.o.Drain)
	defer cancel()
	holder.lease(time.Time{})
	holder.own([events.Partitions]bool{})
	err := d.flushed(ctx)
	d.owner.release(ctx)
	d.poster.Close()
	return err
}

// flushed waits until no attempt is in flight and every outcome is applied.
func (d *Dispatcher) flushed(ctx context.Context) error {
	for {
		if d.inFlight() == 0 && d.outcomes.idle() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("write the last outcomes: %w", context.Cause(ctx))
		case <-d.changed:
		}
	}
}

func (d *Dispatcher) inFlight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Stats(scheduler.Now{Time: time.Now()}).InFlight
}
