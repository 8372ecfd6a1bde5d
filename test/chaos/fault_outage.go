package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/chaos/promise"
)

// An outage is a JetStream that takes nothing. Outages come after all other faults and one by one, so
// that the checker can ask that deliveries go on while each lasts.

// outageLasts is how long an outage lasts in a short run. In a long run that without a quorum lasts
// longQuorum and the others longOutage.
const (
	outageLasts = 25 * time.Second
	longOutage  = 3 * time.Minute
	longQuorum  = 10 * time.Minute
	// outageAfter is how long the system has before each to recover from what was before.
	outageAfter = 15 * time.Second
)

// outages returns the faults of a run, which may be long.
func outages(long bool) []fault {
	lasts, quorum := outageLasts, outageLasts
	if long {
		lasts, quorum = longOutage, longQuorum
	}
	return []fault{
		{promise.AccountFull, "nats", accountFull(lasts)},
		{promise.StreamFull, "nats", streamFull(lasts)},
		{promise.NoQuorum, "nats", noQuorum(quorum)},
		{promise.ReadOnlyStore, "nats", readOnlyStore(lasts)},
	}
}

// strike makes the faults one after the other, and waits before each.
func (r *rig) strike(ctx context.Context, before time.Duration, faults []fault, rnd *rand.Rand) error {
	for _, f := range faults {
		last(ctx, before)
		start := r.now()
		note, err := f.do(ctx, r, rnd)
		r.fault(f.name, f.party, start, note)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// accountFull takes all storage from the account, and gives it back.
func accountFull(d time.Duration) doing {
	return func(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
		signal := func(s syscall.Signal) (errs error) {
			for _, n := range nodes {
				errs = errors.Join(errs, syscall.Kill(r.get(n).PID(), s))
			}
			return errs
		}
		if err := signal(syscall.SIGUSR1); err != nil {
			return "", err
		}
		last(ctx, d)
		return "", signal(syscall.SIGUSR2)
	}
}

// streamFull makes the stream of events refuse what does not fit, and lets nothing fit.
func streamFull(d time.Duration) doing {
	return func(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
		js, err := jetstream.New(r.broker)
		if err != nil {
			return "", err
		}
		var was jetstream.StreamConfig
		change := func(f func(c *jetstream.StreamConfig)) error {
			return backoff.Retry(func() error {
				ask, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				s, err := js.Stream(ask, stream.Events)
				if err != nil {
					return err
				}
				c := s.CachedInfo().Config
				f(&c)
				_, err = js.UpdateStream(ask, c)
				return err
			}, backoff.WithContext(backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 30), ctx))
		}
		if err := change(func(c *jetstream.StreamConfig) { was = *c; c.Discard, c.MaxBytes = jetstream.DiscardNew, 1 }); err != nil {
			return "", err
		}
		last(ctx, d)
		return "", change(func(c *jetstream.StreamConfig) { *c = was })
	}
}

// noQuorum kills two nodes, and starts them again.
func noQuorum(d time.Duration) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		var names []string
		for _, i := range rnd.Perm(len(nodes))[:2] {
			names = append(names, nodes[i])
		}
		return r.nodesDown(ctx, names, d, nil)
	}
}

// readOnlyStore lets no node change its store. Nodes then end JetStream, so they are started again.
func readOnlyStore(d time.Duration) doing {
	return func(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
		set := func(on bool) {
			for _, n := range nodes {
				r.disks[filepath.Join(r.dir, n)].readOnly.Store(on)
			}
		}
		set(true)
		last(ctx, d)
		return r.nodesDown(ctx, nodes, 0, func() error { set(false); return nil })
	}
}
