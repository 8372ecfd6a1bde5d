package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// latencyGroup is the group of the workloads whose healthy endpoints take time to answer.
const latencyGroup = "latency"

// Endpoints of these workloads: far away; with log-normal latency, whose 99th percentile is 900 ms; and with so many
// servers that take so long.
var (
	farAway   = Answer{Latency: 150 * time.Millisecond}
	spreading = Answer{Latency: 120 * time.Millisecond, Sigma: 0.866}
	twenty    = Answer{Latency: 100 * time.Millisecond, Serves: 20}
)

// latencies returns those workloads. pick chooses between the full and the short form.
func latencies(pick func(full, short int) int) []Workload {
	var out []Workload
	for _, kind := range []struct {
		name, about string
		a           Answer
	}{{"far", "150 ms away", farAway}, {"spread", "log-normal latency, median 120 ms, p99 900 ms", spreading}} {
		var tenants []Endpoint
		for i := range 20 {
			tenants = append(tenants, each(fmt.Sprintf("%s%d", kind.name, i), 5, kind.a)...)
		}
		for _, of := range []struct {
			name, about  string
			endpoints    []Endpoint
			events, warm int
		}{
			{"1", "one endpoint", each(kind.name, 1, kind.a), pick(60_000, 20_000), 5_000},
			{"100", "100 endpoints of one tenant", each(kind.name, 100, kind.a), pick(60_000, 30_000), 100},
			{"20x5", "20 tenants of 5 endpoints", tenants, pick(60_000, 30_000), 100},
		} {
			out = append(out, Workload{
				Name: kind.name + "-" + of.name, About: of.about + ", " + kind.about,
				Endpoints: of.endpoints, Turns: inTurn(of.endpoints), Events: of.events, Batch: 100, Warm: of.warm,
			})
		}
	}
	few := each("serves20", 1, twenty)
	out = append(out, Workload{
		Name: "serves-20", About: "one endpoint that serves 20 at a time, 100 ms each", Endpoints: few, Turns: inTurn(few),
		Events: pick(12_000, 4_000), Batch: 100, Warm: 1_000,
	})
	for i := range out {
		w := &out[i]
		w.Group, w.Rounds, w.Patience, w.FullOnly = latencyGroup, 1, 3*time.Minute, true
	}
	return out
}

// servers answer as [Answer.Latency], Sigma and Serves say. If all of them are busy, a request waits.
type servers struct {
	mu      sync.Mutex
	answer  Answer
	free    []time.Time // when each server is free; empty: there is one for each request
	ends    []time.Time // of the requests that wait or are served
	settled time.Time   // from when on the requests at once count
	most    int
}

// settling is how long a sender may take to find out how many requests an endpoint serves at once.
const settling = 10 * time.Second

func newServers(a Answer) *servers { return &servers{answer: a, free: make([]time.Time, a.Serves)} }

// take returns how long the answer to a request takes that comes now.
func (s *servers) take(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Duration(float64(s.answer.Latency) * math.Exp(s.answer.Sigma*rand.NormFloat64()))
	end := now.Add(took)
	if len(s.free) > 0 {
		first := 0
		for i, at := range s.free {
			if at.Before(s.free[first]) {
				first = i
			}
		}
		if s.free[first].After(now) {
			end = s.free[first].Add(took)
		}
		s.free[first] = end
	}
	s.count(now, end)
	return end.Sub(now)
}

// count notes a request that is answered at end.
func (s *servers) count(now, end time.Time) {
	if s.settled.IsZero() {
		s.settled = now.Add(settling)
	}
	s.ends = append(slices.DeleteFunc(s.ends, func(t time.Time) bool { return !t.After(now) }), end)
	if now.After(s.settled) {
		s.most = max(s.most, len(s.ends))
	}
}

func (s *servers) script() sink.Script {
	return func(sink.Call) sink.Answer { return sink.Answer{Delay: s.take(time.Now())} }
}

// atOnce returns the most requests at once since the sender had time to settle.
func (s *servers) atOnce() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}
