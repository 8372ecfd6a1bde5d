package main

import (
	"cmp"
	"context"
	"fmt"
	"syscall"
	"time"
)

// A system is warm when a round of unmeasured traffic is about as good as the best one before it.
// These limit the search.
const (
	warmRounds = 3 // at least
	// warmWindow is the length of a round at a workload's rate. quickWindow is that of the short form.
	warmWindow, quickWindow = 2 * time.Second, time.Second
	// warmEnough is how far behind the best round a round may stay.
	warmEnough = 1.5
)

// warmUp sends deliveries to every webhook, also the later bad neighbours, while all endpoints are
// healthy. First it sends one event to each target, so that the webhooks are known, their partitions
// owned and their connections open. Then it sends rounds of the workload's own traffic until they get
// no better. So the start of the processes does not count.
func (m *measurement) warmUp(ctx context.Context) error {
	w, all := m.workload, m.workload.paths(func(*Endpoint) bool { return true })
	reach := *w
	reach.Turns, reach.Rate, reach.Batch = distinct(w.Turns), 0, min(50, w.Batch*10)
	reach.Events = len(reach.Turns)
	if _, err := m.warmRound(ctx, &reach, all); err != nil {
		return err
	}
	round := *w
	if w.Rate > 0 {
		round.Events = max(int(w.Rate*cmp.Or(w.WarmWindow, warmWindow).Seconds()), len(reach.Turns))
	} else {
		round.Events = w.Warm * len(reach.Turns)
	}
	best := 0.0
	for n := 1; n <= w.WarmRounds || n <= warmRounds; n++ {
		now, err := m.warmRound(ctx, &round, all)
		if err != nil {
			return err
		}
		best = max(best, now)
		if n >= warmRounds && now*warmEnough >= best {
			break
		}
	}
	err := m.system.Settle(ctx)
	// Otherwise the kernel writes what starting and loading left behind during the measurement, and a
	// commit waits for it.
	syscall.Sync()
	return err
}

// warmRound sends a workload and waits for all of it. A higher result is better: deliveries a second,
// or, at a workload's rate, the inverse of the p99.
func (m *measurement) warmRound(ctx context.Context, w *Workload, paths map[Target][]string) (float64, error) {
	start := time.Now()
	events, err := send(ctx, m.system, w, everyone)
	if err != nil {
		return 0, err
	}
	t := newTracker(events, paths)
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if m.posts, err = t.await(bounded, m.rec, m.posts, t.missing); err != nil {
		return 0, err
	}
	if t.missing() > 0 {
		return 0, fmt.Errorf("%d of %d deliveries did not arrive", t.missing(), len(t.due))
	}
	if w.Rate == 0 {
		return t.perSecond(start), nil
	}
	return 1 / max(percentile(t.times(time.Now()), 99), time.Microsecond).Seconds(), nil
}

// distinct returns the targets, each once, in their order.
func distinct(turns []Target) []Target {
	var out []Target
	seen := make(map[Target]bool, len(turns))
	for _, t := range turns {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}
