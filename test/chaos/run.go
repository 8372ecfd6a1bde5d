package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
	"github.com/fanmail-dev/fanmail/test/chaos/promise"
)

// plan configures a run.
type plan struct {
	seed uint64
	// duration of the load with its faults, without the time to build before and to settle after.
	duration time.Duration
	// asIs runs the product with its default leases and retries.
	asIs bool
	// only these faults, by name or by name@party. Empty means all.
	only []string
	// patches that break the product.
	patches []patch
	dir     string
	say     func(format string, args ...any)
}

// outcome is a run whose history was checked.
type outcome struct {
	*promise.Result
	// strange holds failures that no promise covers.
	strange []string
	retries int64
}

func (o *outcome) good() bool { return o.Kept() && len(o.strange) == 0 }

// perform runs a plan and checks its history.
func perform(ctx context.Context, p plan) (*outcome, error) {
	patches, run, stumbles, patience := slices.Clone(p.patches), history.Run{Seed: p.seed, GuardUS: 16e6}, uint32(20), 150*time.Second
	if p.asIs {
		// A strict webhook blocks for the minute that a retry takes.
		run.LeaseUS, stumbles, patience = (5 * time.Minute).Microseconds(), 1, 15*time.Minute
		run.RetriesUS = map[int]int64{}
		for attempts, wait := range longRetries {
			run.RetriesUS[attempts] = wait.Microseconds()
		}
	} else {
		run.LeaseUS = (25 * time.Second).Microseconds()
		for _, q := range quick {
			if !slices.ContainsFunc(p.patches, func(o patch) bool { return o.file == q.file && o.old == q.old }) {
				patches = append(patches, q)
			}
		}
	}
	r, err := newRig(ctx, p.dir, patches, p.say)
	var tried int64
	if err == nil {
		run.At = r.now()
		r.history.Append(history.Record{Kind: history.KindRun, Run: &run})
		tried, err = r.drive(ctx, p, stumbles, patience)
	}
	if err := errors.Join(err, r.close()); err != nil {
		return nil, err
	}
	records, err := history.Read(filepath.Join(p.dir, "history.jsonl"))
	if err != nil {
		return nil, err
	}
	v, err := promise.Check(records)
	if err != nil {
		return nil, err
	}
	return &outcome{Result: v, strange: r.strange, retries: tried}, nil
}

// longRetries are the waits, with jitter, that a run does not wait for, by the number of attempts
// made.
var longRetries = map[int]time.Duration{3: 17 * time.Minute, 4: 66 * time.Minute, 5: 264 * time.Minute}

// drive runs load and faults, repairs everything, waits for the last deliveries and records them.
func (r *rig) drive(ctx context.Context, p plan, stumbles uint32, patience time.Duration) (int64, error) {
	tenants, err := r.settle(ctx, wishes(stumbles))
	if err != nil {
		return 0, err
	}
	l := &load{r: r, tenants: tenants}
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.watch(watching)
	}()
	defer func() { stopWatching(); <-watched }()

	r.say("load and faults for %s, seed %d", p.duration, p.seed)
	during, over := context.WithTimeout(ctx, p.duration)
	defer over()
	loaded, unload := context.WithCancel(ctx)
	defer unload()
	hard, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	l.run(loaded, hard)
	var group errgroup.Group
	for i, lane := range lanes(l) {
		lane.faults = r.able(choose(lane.faults, p.only))
		if len(lane.faults) > 0 {
			group.Go(func() error { return lane.run(during, r, rand.New(rand.NewPCG(p.seed, uint64(i)))) }) //nolint:gosec // three
		}
	}
	err = group.Wait()
	<-during.Done()
	if err == nil {
		rnd := rand.New(rand.NewPCG(p.seed, 99))
		if err = r.strike(ctx, outageAfter, r.able(choose(outages(p.asIs), p.only)), rnd); err == nil {
			err = r.strike(ctx, attackAfter, r.able(choose(attacks(p.asIs), p.only)), rnd)
		}
	}
	unload()
	late := time.AfterFunc(2*time.Minute, func() {
		giveUp(errors.New("2 min after the last fault the producers still had events that were not accepted"))
	})
	defer late.Stop()
	l.workers.Wait()
	if err := errors.Join(err, l.err); err != nil {
		return 0, err
	}
	healed := r.now()
	r.say("every fault is repaired and every event accepted; waiting for the last deliveries")
	r.await(ctx, patience)
	stopWatching()
	<-watched
	r.stop(ctx)
	return l.retries.Load(), r.finish(ctx, healed)
}

// choose returns the faults that are asked for.
func choose(all []fault, only []string) []fault {
	if len(only) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(f fault) bool {
		return !slices.ContainsFunc(only, func(o string) bool { return o == f.name || o == f.name+"@"+f.party })
	})
}

// report is a table of faults and promises, and the breaches.
func (o *outcome) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-28s %5s %7s %8s %6s %6s %8s %7s\n", "fault", "times", "seconds", "accepted", "POSTs", "twice", "overlaps", "broken")
	for _, e := range o.Effects {
		broken := 0
		for _, n := range e.Breaches {
			broken += n
		}
		fmt.Fprintf(&b, "%-28s %5d %7.1f %8d %6d %6d %8d %7d\n", e.Name, e.Times, e.Seconds, e.Accepted, e.Posts, e.Twice, e.Overlaps, broken)
	}
	fmt.Fprintf(&b, "\n%-48s %8s %7s\n", "promise", "checked", "broken")
	for _, p := range promise.Promises {
		fmt.Fprintf(&b, "%-48s %8d %7d\n", p, o.Checked[p], o.Broken(p))
	}
	fmt.Fprintf(&b, "\n%d events offered, %d accepted (%d retries); %d deliveries due: %d got their 2xx, %d used up their attempts, %d ended with their webhook, %d wait for a later attempt, %d were lost with the broker before they were taken in; %d more went to webhooks that changed around their event; %d POSTs, %d extra, %d overlaps explained\n",
		o.Offered, o.Accepted, o.retries, o.Wanted, o.Delivered, o.GivenUp, o.Deleted, o.Waiting, o.WithBroker, o.Either, o.Posts, o.Twice, o.Overlaps)
	if n := len(o.Latencies); n > 0 {
		ms := func(i int) time.Duration { return o.Latencies[min(i, n-1)].Round(time.Millisecond) }
		fmt.Fprintf(&b, "from acceptance to the first 2xx: half within %s, 99 %% within %s, the last %s\n", ms(n/2), ms(n*99/100), ms(n-1))
	}
	for _, a := range o.Attacks {
		ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
		fmt.Fprintf(&b, "%s: %d requests, %d answered, %d cut off; %d of %d refusals waited for bodies; at most %d refusals and %d commands on a connection; %d of %d MiB; by %s %.1f events a second were accepted, %.1f before, 99 %% within %s, %s before\n",
			a.Name, a.Sent, a.Answered, a.Cut, a.Late, a.Pairs, a.Refusals, a.Commands, a.Memory>>20, a.Limit>>20, a.Via, a.Pace, a.CalmPace, ms(a.Accepted), ms(a.CalmAccepted))
	}
	shown := map[promise.Promise]int{}
	for _, br := range o.Breaches {
		if shown[br.Promise]++; shown[br.Promise] <= 10 {
			fmt.Fprintf(&b, "BROKEN: %s: %s\n", br.Promise, br.Text)
		}
	}
	for _, s := range o.strange {
		fmt.Fprintf(&b, "STRANGE: %s\n", s)
	}
	return b.String()
}
