package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// fault is one thing that goes wrong. do injects it, waits and repairs it; its record spans all of
// that.
type fault struct {
	name, party string
	// do returns a note for the record.
	do func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error)
}

// lane is a list of faults that are injected one after the other. No fault repeats until all others
// have had their turn.
type lane struct {
	name   string
	faults []fault
	pause  time.Duration // the longest pause between two faults
}

// run injects faults until ctx ends. It repairs the last one before it returns.
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
		mend, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 4*time.Minute, fmt.Errorf("%s at %s was not repaired within 4 min", f.name, f.party))
		note, err := f.do(mend, r, rnd)
		cancel()
		r.fault(f.name, f.party, start, note)
		if err != nil {
			return fmt.Errorf("lane %s: %s at %s: %w", l.name, f.name, f.party, err)
		}
	}
}

// between returns a random duration from a to b.
func between(rnd *rand.Rand, a, b time.Duration) time.Duration {
	return a + time.Duration(rnd.Int64N(int64(b-a)+1))
}

// last waits for the duration of a fault, or until ctx ends.
func last(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// lanes returns all lanes of a run.
func lanes(l *load) []lane {
	return []lane{
		{"processes", processFaults(), 1500 * time.Millisecond},
		{"infrastructure", infrastructureFaults(), 2500 * time.Millisecond},
		{"receivers and tenants", receiverFaults(l), 2500 * time.Millisecond},
	}
}
