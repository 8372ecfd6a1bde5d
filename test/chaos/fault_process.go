package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/fanmail-dev/fanmail/internal/faults"
)

// processFaults kill and pause processes.
func processFaults() []fault {
	var out []fault
	for _, p := range processes {
		out = append(out, fault{"kill", p, kill(p)})
	}
	for _, p := range []string{"api", "ingest", edge, "publisher-1", "dispatcher-1"} {
		out = append(out, fault{"pause", p, pause(p, 2*time.Second, 4*time.Second)})
	}
	// The pauses are longer than the partitions' lease of 6 s, and longer than a delivery's first
	// lease in quick builds.
	out = append(out,
		fault{"pause", "dispatcher-2", pause("dispatcher-2", 8*time.Second, 10*time.Second)},
		fault{"long pause", "dispatcher-1", pause("dispatcher-1", 24*time.Second, 26*time.Second)},
		fault{"term", "publisher-2", term("publisher-2")},
		fault{"term", "dispatcher-2", term("dispatcher-2")},
	)
	for _, c := range []struct {
		at    faults.Point
		party string
		most  int
	}{
		{faults.OutboxLeased, "publisher-1", 20},
		{faults.OutboxPublished, "publisher-2", 20},
		{faults.FanoutCommitted, "dispatcher-1", 10},
		{faults.FanoutPublished, "dispatcher-2", 10},
		{faults.DispatchPosted, "dispatcher-1", 50},
		{faults.OutcomesBegun, "dispatcher-2", 30},
		{faults.OutcomesCommitted, "dispatcher-1", 30},
	} {
		out = append(out, fault{"crash." + string(c.at), c.party, die(c.party, c.at, c.most)})
	}
	return append(out, fault{"crash." + string(faults.PartitionMoving), "dispatcher-1", dieMoving})
}

type doing = func(context.Context, *rig, *rand.Rand) (string, error)

// kill sends SIGKILL and starts the process again a moment later.
func kill(name string) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		p := r.doom(name)
		p.Kill()
		last(ctx, between(rnd, 0, 3*time.Second))
		return "", r.launch(ctx, p.Spec)
	}
}

// pause sends SIGSTOP, and SIGCONT later.
func pause(name string, least, most time.Duration) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		pid := r.get(name).PID()
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return "", fmt.Errorf("pause: %w", err)
		}
		last(ctx, between(rnd, least, most))
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			return "", fmt.Errorf("resume: %w", err)
		}
		return "", nil
	}
}

// term stops the process with SIGTERM, as a deployment does, and starts it again.
func term(name string) doing {
	return func(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
		p := r.doom(name)
		stop, cancel := context.WithTimeout(ctx, 40*time.Second)
		defer cancel()
		note := ""
		if err := p.Stop(stop); err != nil {
			note = err.Error() // the database may be away at that moment
		}
		return note, r.launch(ctx, p.Spec)
	}
}

// die starts the process armed to kill itself when it passes a point for the n-th time, and then
// starts it normally.
func die(name string, at faults.Point, most int) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		p := r.doom(name)
		p.Kill()
		n := 1 + rnd.IntN(most)
		note, err := r.armed(ctx, name, fmt.Sprintf("%s:%d", at, n), 12*time.Second, nil)
		if err != nil {
			return note, err
		}
		return note, r.launch(ctx, p.Spec)
	}
}

// armed starts a process with a fault point and waits until it has died there. After the patience it
// kills the process.
func (r *rig) armed(ctx context.Context, name, at string, patience time.Duration, meanwhile func() error) (string, error) {
	s := r.get(name).Spec
	deadly := s
	deadly.Env = append(slices.Clone(s.Env), faults.Variable+"="+at)
	deadly.Ready = "" // it may die before it is ready
	if err := r.start(ctx, deadly, true); err != nil {
		return "", err
	}
	p := r.get(name)
	p.Spec = s // the next start is not armed
	if meanwhile != nil {
		if err := meanwhile(); err != nil {
			return "", err
		}
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.Exited():
		return at, nil
	case <-wait.Done():
		p.Kill()
		return at + " was not reached", nil
	}
}

// dieMoving kills a dispatcher that owns all partitions while it releases half of them to another one
// that joins.
func dieMoving(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
	other := r.doom("dispatcher-2")
	other.Kill()
	p := r.doom("dispatcher-1")
	p.Kill()
	note, err := r.armed(ctx, "dispatcher-1", string(faults.PartitionMoving), 15*time.Second, func() error {
		last(ctx, 8*time.Second) // until this process owns the other one's partitions
		return r.launch(ctx, other.Spec)
	})
	if err != nil {
		return note, err
	}
	return note, r.launch(ctx, p.Spec)
}
