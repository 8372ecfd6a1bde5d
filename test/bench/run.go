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

// Run is the result of one run of a workload on a system. Times are from just before the call that
// accepted the event to the POST's arrival. Only deliveries to healthy endpoints count. Costs are
// divided by those deliveries, and include the cost of bad neighbours.
type Run struct {
	PerSecond   float64 // from the first call to the last arrival
	P50, P99    float64 // milliseconds
	N, Expected int     // deliveries that arrived, each counted once, and that should have
	PostedTwice int
	CPU         map[string]float64 // seconds for 1,000 deliveries, by part
	Written     map[string]float64 // bytes for each delivery, by part
	Memory      map[string]float64 // bytes, the peak of each part
	// With bad neighbours: the same traffic while they were healthy, then without them, and how many
	// deliveries had arrived 5 s after the last event was sent.
	WellP50, WellP99   float64
	AloneP50, AloneP99 float64
	Arrived5s          int
	// Slowest are the slowest deliveries, the slowest one first.
	Slowest []Slow
	// Retried is how many deliveries were refused at first. RetriesPerSecond is their rate since their
	// retry was due.
	Retried          int
	RetriesPerSecond float64
	Drop             Drop
	// AtOnce is the most requests at once at one endpoint with a latency, after its first 10 s.
	AtOnce int
	// Handshakes of the endpoints with names.
	Handshakes Handshakes
}

// Slow is a slow delivery.
type Slow struct {
	// Sent is when, in seconds since the first call.
	Sent   float64 `json:"sent_s"`
	Millis float64 `json:"took_ms"`
}

// Drop is the effect of dropping a day on the deliveries beside it, in milliseconds.
type Drop struct {
	Took float64 `json:"took_ms"`
	// Before is the slowest delivery sent before it began. During is the slowest sent until a second
	// after it ended.
	Before float64 `json:"slowest_before_ms"`
	During float64 `json:"slowest_during_ms"`
}

// run starts a system, measures it and stops it. Events that never arrive are not an error; the result
// counts them.
func run(ctx context.Context, w *Workload, s System, dir, profiles string) (out Run, err error) {
	rec, err := startReceiver(ctx, &w.Names, dir)
	if err != nil {
		return out, err
	}
	w.Names.DNS, w.Names.Roots = rec.DNS, rec.Roots
	defer func() { err = errors.Join(err, s.Stop(ctx)) }()
	// Before the system is stopped, so that no answer hangs any longer.
	defer rec.stop()
	if err := s.Start(ctx, dir, w); err != nil {
		return out, err
	}
	peak := watchMemory(ctx, s)
	defer peak.stop()
	for i := range w.Endpoints {
		w.Endpoints[i].URL = rec.url(&w.Endpoints[i])
	}
	if err := s.Subscribe(ctx, w.Endpoints); err != nil {
		return out, err
	}
	if err := rec.latencies(ctx, w.Endpoints); err != nil {
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
	// Only now do the bad neighbours start to fail.
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
	if out.AtOnce, err = rec.atOnce(ctx); err != nil {
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
	posts    int // arrived when the last part ended
	profiles string
}

func everyone(Target) bool { return true }

func (m *measurement) wellOnly(t Target) bool { return len(m.healthy[t]) > 0 }

// take sends the workload to the targets that want accepts, and measures until everything has arrived, but at least for so
// long after the last event was sent.
func (m *measurement) take(ctx context.Context, want func(Target) bool, least time.Duration) (Run, error) {
	w, s := m.workload, m.system
	before, err := s.Usage(ctx)
	if err != nil {
		return Run{}, err
	}
	shaken, err := m.rec.handshakes(ctx, &w.Names)
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
	t := newTracker(events, m.healthy)
	t.expectRefusals(w.Endpoints)
	due, retried, err := m.arrive(ctx, t, least)
	if err != nil {
		return Run{}, err
	}
	end := time.Now()
	if t.missing() == 0 && !w.Noisy() {
		bounded, cancel := context.WithTimeout(ctx, w.Patience)
		defer cancel()
		if err := s.Settle(bounded); err != nil {
			return Run{}, fmt.Errorf("settle: %w", err)
		}
	}
	after, err := s.Usage(ctx)
	if err != nil {
		return Run{}, err
	}
	if err := profiled(); err != nil {
		fmt.Fprintln(os.Stderr, err) // the figures are complete without it
	}
	out := t.run(start, end)
	now, err := m.rec.handshakes(ctx, &w.Names)
	if err != nil {
		return Run{}, err
	}
	out.Handshakes = now.minus(shaken)
	out.CPU, out.Written = per(before.CPU, after.CPU, len(t.came), 1000), per(before.Written, after.Written, len(t.came), 1)
	out.RetriesPerSecond = float64(t.retried()-retried) / end.Sub(due).Seconds()
	if w.Drop {
		out.Drop = Drop{
			Took: millis(to.Sub(from)), Before: millis(t.worst(start, from.Add(-time.Second), end)),
			During: millis(t.worst(from.Add(-time.Second), to.Add(time.Second), end)),
		}
	}
	return out, nil
}

// arrive waits for the deliveries. It hastens those whose first request was refused, and returns when they became due and
// how many had been retried by then.
func (m *measurement) arrive(ctx context.Context, t *tracker, least time.Duration) (due time.Time, retried int, err error) {
	bounded, cancel := context.WithTimeout(ctx, m.workload.Patience)
	defer cancel()
	if least > 0 {
		// The run must last long enough to show the late deliveries.
		if err := until(ctx, t.last.Add(least)); err != nil {
			return due, 0, err
		}
	}
	due = time.Now()
	if len(t.refused) > 0 {
		if m.posts, err = t.await(bounded, m.rec, m.posts, t.untried); err != nil {
			return due, 0, err
		}
		due, retried = time.Now(), t.retried()
		if err := m.system.Hasten(bounded); err != nil {
			return due, 0, err
		}
	}
	m.posts, err = t.await(bounded, m.rec, m.posts, t.missing)
	return due, retried, err
}

// run returns the figures of the deliveries between two times.
func (t *tracker) run(start, end time.Time) Run {
	times := t.times(end)
	return Run{
		PerSecond: t.perSecond(start), P50: millis(percentile(times, 50)), P99: millis(percentile(times, 99)),
		N: len(t.came), Expected: len(t.due), PostedTwice: t.posts - len(t.came), Arrived5s: t.arrivedBy(t.last.Add(5 * time.Second)),
		Slowest: t.slowest(start, end, 5), Retried: len(t.refused),
	}
}

// drop drops a day halfway through the workload, if that asks for it. The returned function waits for
// the end and returns the times of its begin and end.
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

// per divides what was used between two readings by n deliveries, in units of so many.
func per(before, after map[string]float64, n, unit int) map[string]float64 {
	out := make(map[string]float64, len(after))
	for part, now := range after {
		out[part] = (now - before[part]) / float64(max(n, 1)) * float64(unit)
	}
	return out
}

// profile collects CPU profiles of the system's parts during the measurement, if a directory is set
// and the parts serve profiles. The returned function waits for them.
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
