package main

import (
	"fmt"
	"time"
)

// Target is an agent of a tenant: an event is for every endpoint of its target.
type Target struct{ Tenant, Agent string }

// Answer is how an endpoint behaves. The zero value answers 200 at once.
type Answer struct {
	// Hang answers never; the client gives up.
	Hang bool `json:"hang,omitempty"`
	// Delay comes before the answer.
	Delay time.Duration `json:"delay,omitempty"`
	// FailFor is how long, from the first request on, it answers 500.
	FailFor time.Duration `json:"fail_for,omitempty"`
}

// Endpoint is a path of the receiver that subscribes to a target's events.
type Endpoint struct {
	Target
	Path string
	Answer
	// URL is filled in when the receiver runs.
	URL string
}

// Healthy says that the endpoint answers well and at once.
func (e *Endpoint) Healthy() bool { return e.Answer == Answer{} }

// Workload is a way to load a system.
type Workload struct {
	Name, About string
	Endpoints   []Endpoint
	// Turns are the targets of one event after the other, again and again.
	Turns []Target
	// Events to send, in transactions of Batch.
	Events, Batch int
	// Rate in events a second, by the clock, whatever becomes of those before;
	// zero means the next transaction when the one before is durable.
	Rate float64
	// Rounds unless the caller wants another number.
	Rounds int
	// Patience bounds how long the last events may take to arrive.
	Patience time.Duration
	// FullOnly leaves it out of the quick form, unless it is asked for.
	FullOnly bool
	// Warm is how many events of each target a round of the warm-up has; with a
	// Rate its rounds go by that.
	Warm int
}

// Noisy says that some of the endpoints are bad neighbours.
func (w *Workload) Noisy() bool {
	for i := range w.Endpoints {
		if !w.Endpoints[i].Healthy() {
			return true
		}
	}
	return false
}

// healthy are the paths of each target's healthy endpoints.
func (w *Workload) healthy() map[Target][]string { return w.paths((*Endpoint).Healthy) }

// paths are those of each target's endpoints that want accepts.
func (w *Workload) paths(want func(*Endpoint) bool) map[Target][]string {
	paths := map[Target][]string{}
	for i := range w.Endpoints {
		if e := &w.Endpoints[i]; want(e) {
			paths[e.Target] = append(paths[e.Target], e.Path)
		}
	}
	return paths
}

func target(tenant string, agent int) Target {
	return Target{Tenant: tenant, Agent: fmt.Sprintf("agent%d@%s.example.com", agent, tenant)}
}

// each makes n endpoints of one tenant, each with a target of its own.
func each(tenant string, n int, a Answer) []Endpoint {
	out := make([]Endpoint, n)
	for i := range out {
		out[i] = Endpoint{Target: target(tenant, i), Path: fmt.Sprintf("/%s/%d", tenant, i), Answer: a}
	}
	return out
}

// inTurn is one turn for each endpoint's target, those of the groups mixed.
func inTurn(endpoints []Endpoint) []Target {
	// A step that shares no factor with the number visits each once.
	step := 1
	for s := len(endpoints) * 5 / 8; s > 1; s-- {
		if gcd(s, len(endpoints)) == 1 {
			step = s
			break
		}
	}
	out := make([]Target, len(endpoints))
	for i := range out {
		out[i] = endpoints[i*step%len(endpoints)].Target
	}
	return out
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// workloads are those of the tables of results, or short ones of the same kind.
func workloads(quick bool) []Workload {
	pick := func(full, short int) int {
		if quick {
			return short
		}
		return full
	}
	one, hundred, wide := each("one", 1, Answer{}), each("hundred", 100, Answer{}), each("wide", 100, Answer{})
	for i := range wide {
		wide[i].Target = target("wide", 0)
	}
	fast := []Workload{
		{
			Name: "W1", About: "one endpoint, as fast as events are taken",
			Endpoints: one, Turns: inTurn(one), Events: pick(10_000, 4_000), Batch: 100, Warm: 300,
		},
		{
			Name: "W1b", About: "100 endpoints, as fast as events are taken",
			Endpoints: hundred, Turns: inTurn(hundred), Events: pick(10_000, 4_000), Batch: 100, Warm: 3,
		},
		{
			Name: "W2", About: "each event to 100 endpoints",
			Endpoints: wide, Turns: inTurn(wide[:1]), Events: pick(100, 40), Batch: 10, Warm: 3,
		},
		{
			Name: "W3", About: "50 events a second to one endpoint",
			Endpoints: one, Turns: inTurn(one), Events: 50 * pick(30, 4), Batch: 1, Rate: 50, Warm: 300,
		},
		{
			Name: "W3b", About: "500 events a second to one endpoint",
			Endpoints: one, Turns: inTurn(one), Events: 500 * pick(20, 3), Batch: 1, Rate: 500, Warm: 300,
		},
	}
	for i := range fast {
		fast[i].Rounds, fast[i].Patience = 3, 3*time.Minute
	}
	return append(fast, noisy(pick(40, 5), time.Duration(pick(20, 6))*time.Second)...)
}
