package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Result is one line of the results. Times are from just before the call that
// accepted the event to the POST's arrival.
type Result struct {
	Workload    string  `json:"workload"`
	System      string  `json:"system"`
	PerSecond   float64 `json:"per_s"`          // deliveries, from the first call to the last arrival
	CPUPer1000  float64 `json:"cpu_s_per_1000"` // CPU seconds for 1,000 deliveries
	P50Millis   float64 `json:"p50_ms"`
	P99Millis   float64 `json:"p99_ms"`
	N           int     `json:"n"`        // deliveries that arrived, each counted once
	Expected    int     `json:"expected"` // deliveries that should have
	PostedTwice int     `json:"posted_twice"`
	// CPUParts are the parts of CPUPer1000.
	CPUParts map[string]float64 `json:"cpu_parts"`
}

// Workload is a way to load a system.
type Workload struct {
	Name string
	// Events to send, in batches of Batch.
	Events, Batch int
	// Every is the time between batches; zero means as fast as they are taken.
	Every time.Duration
}

const agent = "agent@example.com"

// warmUp is how many events go before, unmeasured, so that connections are
// open and statements prepared.
const warmUp = 200

// workloads are those of the tables of results, or short ones of the same kind.
func workloads(quick bool) []Workload {
	w1 := Workload{Name: "W1", Events: 10_000, Batch: 100}
	w3 := Workload{Name: "W3", Events: 50 * 30, Batch: 1, Every: time.Second / 50}
	if quick {
		w1.Events, w3.Events = 3_000, 50*6
	}
	return []Workload{w1, w3}
}

// patience bounds how long the last events may take to arrive.
const patience = 3 * time.Minute

// run measures a system that is started for it and stopped again. Events that
// never arrive are no error: the result says how many did.
func run(ctx context.Context, w Workload, s System, dir string) (res Result, err error) {
	rec, err := startReceiver(ctx)
	if err != nil {
		return res, err
	}
	defer rec.stop()
	defer func() { err = errors.Join(err, s.Stop(ctx)) }()
	if err := s.Start(ctx, dir); err != nil {
		return res, err
	}
	if err := s.Subscribe(ctx, rec.URL+"/webhook", agent); err != nil {
		return res, err
	}
	if _, err := send(ctx, s, Workload{Events: warmUp, Batch: 100}); err != nil {
		return res, err
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := errors.Join(rec.wait(bounded, warmUp), s.Settle(bounded)); err != nil {
		return res, fmt.Errorf("warm up: %w", err)
	}

	before, err := s.CPU()
	if err != nil {
		return res, err
	}
	start := time.Now()
	sent, err := send(ctx, s, w)
	if err != nil {
		return res, err
	}
	bounded, cancel = context.WithTimeout(ctx, patience)
	defer cancel()
	got, posts, err := await(bounded, rec, sent)
	if err != nil {
		return res, err
	}
	if len(got) == len(sent) {
		if err := s.Settle(bounded); err != nil {
			return res, fmt.Errorf("settle: %w", err)
		}
	}
	after, err := s.CPU()
	if err != nil {
		return res, err
	}
	res = summarize(start, sent, got)
	res.Workload, res.System, res.PostedTwice = w.Name, s.Name(), posts-len(got)
	res.charge(before, after)
	return res, nil
}

// send hands a workload's events in and gives the time just before each one's
// call, by id.
func send(ctx context.Context, s System, w Workload) (map[string]time.Time, error) {
	sent := make(map[string]time.Time, w.Events)
	batch := make([]Event, w.Batch)
	var tick <-chan time.Time
	if w.Every > 0 {
		t := time.NewTicker(w.Every)
		defer t.Stop()
		tick = t.C
	}
	for n := 0; n < w.Events; n += len(batch) {
		batch = batch[:min(w.Batch, w.Events-n)]
		for i := range batch {
			batch[i] = newEvent(n+i, agent)
		}
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		at := time.Now()
		ids, err := s.Accept(ctx, batch)
		if err != nil {
			return nil, fmt.Errorf("hand events in: %w", err)
		}
		for _, id := range ids {
			sent[id] = at
		}
	}
	return sent, nil
}

// await waits for the first arrival of every event that was sent, until ctx
// ends. It gives them by id, and the number of POSTs that they took.
func await(ctx context.Context, rec *receiver, sent map[string]time.Time) (map[string]time.Time, int, error) {
	for want := warmUp + len(sent); ; {
		waited := rec.wait(ctx, want)
		all, err := rec.arrivals(context.WithoutCancel(ctx))
		if err != nil {
			return nil, 0, err
		}
		got, posts := make(map[string]time.Time, len(sent)), 0
		for _, a := range all {
			if _, ours := sent[a.ID]; !ours {
				continue
			}
			posts++
			if _, again := got[a.ID]; !again {
				got[a.ID] = time.Unix(0, a.At)
			}
		}
		if len(got) == len(sent) || waited != nil {
			return got, posts, nil
		}
		want = len(all) + len(sent) - len(got) // some came twice
	}
}

func summarize(start time.Time, sent, got map[string]time.Time) Result {
	r := Result{N: len(got), Expected: len(sent)}
	if len(got) == 0 {
		return r
	}
	took := make([]time.Duration, 0, len(got))
	last := start
	for id, at := range got {
		took = append(took, at.Sub(sent[id]))
		if at.After(last) {
			last = at
		}
	}
	slices.Sort(took)
	r.PerSecond = float64(len(got)) / last.Sub(start).Seconds()
	r.P50Millis, r.P99Millis = millis(percentile(took, 50)), millis(percentile(took, 99))
	return r
}

// charge spreads the CPU seconds used between two readings over what arrived.
func (r *Result) charge(before, after map[string]float64) {
	r.CPUParts = make(map[string]float64, len(after))
	for part, now := range after {
		per1000 := (now - before[part]) / float64(max(r.N, 1)) * 1000
		r.CPUParts[part] = per1000
		r.CPUPer1000 += per1000
	}
}

// percentile is the smallest value that at least p percent of the sorted ones
// don't exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
