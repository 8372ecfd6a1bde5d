package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// fault is one thing that can be done to the system: it begins, lasts and is
// mended within do. The record of it spans all of that.
type fault struct {
	name, party string
	// do gives a note for the record.
	do func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error)
}

// lane is a deck of faults that are made one after the other, none a second
// time before all others have been.
type lane struct {
	name   string
	faults []fault
	pause  time.Duration // up to that between two
}

// run makes faults until ctx ends. The last one is mended before it returns.
func (l lane) run(ctx context.Context, r *rig, rnd *rand.Rand) error {
	var deck []int
	for {
		pause := time.NewTimer(l.pause/4 + rand.N(l.pause))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		if len(deck) == 0 {
			deck = rnd.Perm(len(l.faults))
		}
		f := l.faults[deck[0]]
		deck = deck[1:]
		start := r.now()
		mend, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 4*time.Minute, fmt.Errorf("%s at %s was not mended within 4 min", f.name, f.party))
		note, err := f.do(mend, r, rnd)
		cancel()
		r.fault(f.name, f.party, start, note)
		if err != nil {
			return fmt.Errorf("lane %s: %s at %s: %w", l.name, f.name, f.party, err)
		}
	}
}

// between is a time from a to b.
func between(rnd *rand.Rand, a, b time.Duration) time.Duration {
	return a + time.Duration(rnd.Int64N(int64(b-a)+1))
}

// last waits while a fault lasts.
func last(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// lanes are all that is done in a run.
func lanes(l *load) []lane {
	return []lane{
		{"processes", processFaults(), 1500 * time.Millisecond},
		{"infrastructure", infrastructureFaults(), 2500 * time.Millisecond},
		{"receivers and tenants", receiverFaults(l), 2500 * time.Millisecond},
	}
}
