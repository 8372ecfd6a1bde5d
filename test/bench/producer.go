package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// producers is how many transactions of a paced workload may be open at once.
const producers = 32

// sent is an event that was accepted.
type sent struct {
	id string
	to Target
	// at is the time just before the call, or when the call was due if all producers were busy then.
	at time.Time
}

// send sends the events of a workload whose target want accepts. It waits through the turns of the
// others. It returns the sent events in no order.
func send(ctx context.Context, s System, w *Workload, want func(Target) bool) ([]sent, error) {
	var (
		mu  sync.Mutex
		out = make([]sent, 0, w.Events)
	)
	accept := func(ctx context.Context, batch []Event, at time.Time) error {
		ids, err := s.Accept(ctx, batch)
		if err != nil {
			return fmt.Errorf("insert events: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for i, id := range ids {
			out = append(out, sent{id: id, to: batch[i].Target, at: at})
		}
		return nil
	}
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(producers)
	start := time.Now()
	for n := 0; n < w.Events && working.Err() == nil; n += w.Batch {
		var batch []Event
		for i := n; i < min(n+w.Batch, w.Events); i++ {
			if to := w.Turns[i%len(w.Turns)]; want(to) {
				batch = append(batch, newEvent(i, to))
			}
		}
		at := time.Now()
		if w.Rate > 0 {
			due := start.Add(time.Duration(float64(n) / w.Rate * float64(time.Second)))
			if until(working, due) != nil {
				break
			}
			at = time.Now()
		}
		if len(batch) == 0 {
			continue
		}
		if w.Rate == 0 {
			// Calls one after the other: the time is that of this call.
			if err := accept(working, batch, at); err != nil {
				return nil, err
			}
			continue
		}
		group.Go(func() error { return accept(working, batch, at) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, context.Cause(ctx)
}

// until waits for a time.
func until(ctx context.Context, due time.Time) error {
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
