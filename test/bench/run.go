package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Run is what one run of a workload on a system gave. Times are from just
// before the call that accepted the event to the POST's arrival. Only
// deliveries to healthy endpoints count, and costs are spread over them: with
// bad neighbours, the cost of these is in it.
type Run struct {
	PerSecond   float64 // from the first call to the last arrival
	P50, P99    float64 // milliseconds
	N, Expected int     // deliveries that arrived, each once, and that should have
	PostedTwice int
	CPU         map[string]float64 // seconds for 1,000 deliveries, by part
	Written     map[string]float64 // bytes for a delivery, by part
	Memory      map[string]float64 // bytes, the peak of each part
	// With bad neighbours: the same traffic while they were well, then without
	// them, and how many had arrived 5 s after the last was sent.
	WellP50, WellP99   float64
	AloneP50, AloneP99 float64
	Arrived5s          int
	// Slowest are the slowest deliveries, the slowest one first.
	Slowest []Slow
	// Retried is how many deliveries were refused at first, and RetriesPerSecond
	// their rate from when they were due again.
	Retried          int
	RetriesPerSecond float64
	Drop             Drop
}

// Slow is a delivery that took long.
type Slow struct {
	// Sent is when, in seconds from the first call.
	Sent   float64 `json:"sent_s"`
	Millis float64 `json:"took_ms"`
}

// Drop is what dropping a day did to the deliveries beside it, in milliseconds.
type Drop struct {
	Took float64 `json:"took_ms"`
	// Before is the slowest delivery of those sent before it began, During of
	// those sent until a second after it had ended.
	Before float64 `json:"slowest_before_ms"`
	During float64 `json:"slowest_during_ms"`
}

// run measures a system that is started for it and stopped again. Events that
// never arrive are no error: the result says how many did.
func run(ctx context.Context, w *Workload, s System, dir, profiles string) (out Run, err error) {
	rec, err := startReceiver(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Stop(ctx)) }()
	// Before the system is stopped, so that no answer hangs any longer.
	defer rec.stop()
	if err := s.Start(ctx, dir, w); err != nil {
		return out, err
	}
	peak := watchMemory(ctx, s)
	defer peak.stop()
	for i := range w.Endpoints {
		w.Endpoints[i].URL = rec.URL + w.Endpoints[i].Path
	}
	if err := s.Subscribe(ctx, w.Endpoints); err != nil {
		return out, err
	}
	m := measurement{workload: w, system: s, rec: rec, healthy: w.healthy(), profiles: profiles}
	if err := m.warmUp(ctx); err != nil {
		return out, fmt.Errorf("warm up: %w", err)
	}
	var well Run
	if w.Noisy() {
		if well, err = m.take(ctx, everyone, 0); err != nil {
			return out, fmt.Errorf("while all are well: %w", err)
		}
	}
	// Only now do the bad neighbours turn bad.
	if err := rec.answers(ctx, w.Endpoints); err != nil {
		return out, err
	}
	if w.Noisy() {
		alone, err := m.take(ctx, m.wellOnly, 0)
		if err != nil {
			return out, fmt.Errorf("without bad neighbours: %w", err)
		}
		defer func() {
			out.WellP50, out.WellP99, out.AloneP50, out.AloneP99 = well.P50, well.P99, alone.P50, alone.P99
		}()
		out, err = m.take(ctx, everyone, 5*time.Second)
		if err != nil {
			return out, err
		}
	} else if out, err = m.take(ctx, everyone, 0); err != nil {
		return out, err
	}
	out.Memory, err = peak.read()
	return out, err
}

// measurement is a running system under a workload.
type measurement struct {
	workload *Workload
	system   System
	rec      *receiver
	healthy  map[Target][]string
	posts    int // that had arrived when the last part ended
	profiles string
}

func everyone(Target) bool { return true }

func (m *measurement) wellOnly(t Target) bool { return len(m.healthy[t]) > 0 }

// take sends the workload to the targets that want accepts and measures, until
// all has arrived and no shorter than so long after the last was sent.
func (m *measurement) take(ctx context.Context, want func(Target) bool, least time.Duration) (Run, error) {
	w, s := m.workload, m.system
	before, err := s.Usage(ctx)
	if err != nil {
		return Run{}, err
	}
	profiled := m.profile(ctx)
	start := time.Now()
	dropped := m.drop(ctx)
	events, err := send(ctx, s, w, want)
	from, to, fault := dropped()
	if err := errors.Join(err, fault); err != nil {
		return Run{}, err
	}
	t := newTally(events, m.healthy)
	t.expectRefusals(w.Endpoints)
	bounded, cancel := context.WithTimeout(ctx, w.Patience)
	defer cancel()
	if least > 0 {
		// Patience must not be cut short of what the run is to say.
		if err := until(ctx, t.last.Add(least)); err != nil {
			return Run{}, err
		}
	}
	due, early := time.Now(), 0
	if len(t.refused) > 0 {
		if m.posts, err = t.await(bounded, m.rec, m.posts, t.untried); err != nil {
			return Run{}, err
		}
		due, early = time.Now(), t.retried()
		if err := s.Hasten(bounded); err != nil {
			return Run{}, err
		}
	}
	if m.posts, err = t.await(bounded, m.rec, m.posts, t.missing); err != nil {
		return Run{}, err
	}
	end := time.Now()
	if t.missing() == 0 && !w.Noisy() {
		if err := s.Settle(bounded); err != nil {
			return Run{}, fmt.Errorf("settle: %w", err)
		}
	}
	after, err := s.Usage(ctx)
	if err != nil {
		return Run{}, err
	}
	if err := profiled(); err != nil {
		fmt.Fprintln(os.Stderr, err) // the figures stand without
	}
	times := t.times(end)
	out := Run{
		PerSecond: t.perSecond(start), P50: millis(percentile(times, 50)), P99: millis(percentile(times, 99)),
		N: len(t.came), Expected: len(t.due), PostedTwice: t.posts - len(t.came), Arrived5s: t.arrivedBy(t.last.Add(5 * time.Second)),
		CPU: per(before.CPU, after.CPU, len(t.came), 1000), Written: per(before.Written, after.Written, len(t.came), 1),
		Slowest: t.slowest(start, end, 5),
		Retried: len(t.refused), RetriesPerSecond: float64(t.retried()-early) / end.Sub(due).Seconds(),
	}
	if w.Drop {
		out.Drop = Drop{
			Took: millis(to.Sub(from)), Before: millis(t.worst(start, from.Add(-time.Second), end)),
			During: millis(t.worst(from.Add(-time.Second), to.Add(time.Second), end)),
		}
	}
	return out, nil
}

// drop has a day dropped halfway through the workload, where it wants that. The
// function that it gives waits for the end and says from when to when it was.
func (m *measurement) drop(ctx context.Context) func() (from, to time.Time, err error) {
	if !m.workload.Drop {
		return func() (from, to time.Time, err error) { return from, to, nil }
	}
	half := time.Now().Add(time.Duration(float64(m.workload.Events) / m.workload.Rate / 2 * float64(time.Second)))
	var from, to time.Time
	ended := make(chan error, 1)
	go func() {
		err := until(ctx, half)
		from = time.Now()
		if err == nil {
			err = m.system.DropDay(ctx)
		}
		to = time.Now()
		ended <- err
	}()
	return func() (time.Time, time.Time, error) {
		err := <-ended
		return from, to, err
	}
}

// per spreads what was used between two readings over n deliveries, in units
// of so many.
func per(before, after map[string]float64, n, unit int) map[string]float64 {
	out := make(map[string]float64, len(after))
	for part, now := range after {
		out[part] = (now - before[part]) / float64(max(n, 1)) * float64(unit)
	}
	return out
}

// profile collects CPU profiles of the system's parts while it is measured, if
// there is a directory for them and the parts serve them. The function that it
// gives waits for them.
func (m *measurement) profile(ctx context.Context) func() error {
	if m.profiles == "" {
		return func() error { return nil }
	}
	length := 3 * time.Second
	if m.workload.Rate > 0 {
		length = max(time.Duration(float64(m.workload.Events)/m.workload.Rate*float64(time.Second)), time.Second)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for part, base := range m.system.Debug() {
		wg.Go(func() {
			file := filepath.Join(m.profiles, m.workload.Name+"-"+m.system.Name()+"-"+part+".pprof")
			if err := fetchProfile(ctx, base, length, file); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("profile of %s: %w", part, err))
			}
		})
	}
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}
