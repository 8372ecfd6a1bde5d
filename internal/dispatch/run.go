package dispatch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/dispatch/scheduler"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// lastMargin is added to what is left of the drain for the last outcomes.
const lastMargin = time.Second

// Ready says why nothing can be delivered yet, or nil. From then on it returns
// nil.
func (d *Dispatcher) Ready() error { return d.owner.ready() }

// Owning returns an error until the dispatcher's first share of partitions is decided.
// From then on it delivers what it fetches from the table, also without a broker.
func (d *Dispatcher) Owning() error { return d.owner.owning() }

// Rank returns this dispatcher's rank among those that are alive, from 0, and a
// channel that is closed when it changes.
func (d *Dispatcher) Rank() (rank int, changed <-chan struct{}) { return d.owner.ranked() }

// Run delivers until ctx ends, then stops within the drain deadline: it fetches
// and starts nothing new, releases what is queued, finishes or cuts short the
// attempts in flight, writes their outcomes, and hands over the partitions.
func (d *Dispatcher) Run(ctx context.Context) error {
	unsubscribe, err := d.subscribe()
	defer unsubscribe()
	if err != nil {
		return err
	}
	d.watchWebhooks()

	var writers, workers sync.WaitGroup
	write, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	d.outcomes.gathers.Store(true)
	writers.Go(func() { d.outcomes.run(write) })
	writers.Go(func() { d.settle(write) })
	workers.Go(func() { d.owner.run(ctx, partitions{d}) })
	workers.Go(func() { d.runFetches(ctx) })
	workers.Go(func() { d.runRescues(ctx) })
	workers.Go(func() { d.runSilent(ctx) })
	workers.Go(func() { d.runTimer(ctx.Done()) })
	<-ctx.Done()

	deadline, cancel := context.WithTimeout(write, d.o.Drain-d.o.Drain/4)
	defer cancel()
	stop := context.AfterFunc(deadline, func() { d.cut(attempt.ErrStopped) })
	defer stop()
	workers.Wait() // nothing is added from here on
	d.input(func(s *scheduler.Scheduler, _ scheduler.Now) { s.Stop() })
	<-d.idle
	last, cancelLast := context.WithTimeout(write, d.o.Drain/4+lastMargin)
	defer cancelLast()
	d.cut(attempt.ErrStopped)
	err = d.outcomes.flush(last)
	d.owner.release(last)
	stopWriting()
	writers.Wait()
	d.poster.Close()
	if err != nil {
		d.log.Warn("stopped with outcomes unwritten; their leases run out and they are sent again")
	}
	return nil
}

// subscribe listens for hints and questions. The function that it returns ends
// that.
func (d *Dispatcher) subscribe() (unsubscribe func(), err error) {
	var all []*nats.Subscription
	unsubscribe = func() {
		for _, s := range all {
			_ = s.Unsubscribe()
		}
	}
	hints, err := d.nc.Subscribe(events.WakeLanePrefix+"*", func(m *nats.Msg) { d.hinted(string(m.Data)) })
	if err != nil {
		return unsubscribe, fmt.Errorf("subscribe to %s*: %w", events.WakeLanePrefix, err)
	}
	all = append(all, hints)
	questions, err := d.answerLanes()
	if err != nil {
		return unsubscribe, fmt.Errorf("subscribe to %s*: %w", events.AskLanePrefix, err)
	}
	all = append(all, questions)
	activity, err := d.answerActivity()
	if err != nil {
		return unsubscribe, fmt.Errorf("subscribe to %s: %w", events.AskDispatcherPrefix, err)
	}
	all = append(all, activity)
	return unsubscribe, nil
}

// hinted takes the hint that a webhook has due rows.
func (d *Dispatcher) hinted(id string) {
	if w, err := events.Parse[events.WebhookKind](id); err == nil {
		d.hint(w)
	}
}

// watchWebhooks has the scheduler told of every change of a webhook.
func (d *Dispatcher) watchWebhooks() {
	d.watch.Do(func() {
		d.registry.Watch(func(e *subscribers.Entry) {
			d.poster.changed(e)
			w := scheduled(e)
			d.input(func(s *scheduler.Scheduler, now scheduler.Now) { s.Change(now, &w) })
		})
	})
}
