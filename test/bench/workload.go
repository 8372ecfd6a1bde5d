package main

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// Target is an agent of a tenant. An event is for every endpoint of its target.
type Target struct{ Tenant, Agent string }

// Answer is how an endpoint behaves. The zero value answers 200 at once.
type Answer struct {
	// Hang never answers; the client gives up.
	Hang bool `json:"hang,omitempty"`
	// Delay before the answer.
	Delay time.Duration `json:"delay,omitempty"`
	// FailFor is how long it answers 500, from the first request on.
	FailFor time.Duration `json:"fail_for,omitempty"`
	// Latency is how long each request takes, Sigma the spread of its logarithm. At most Serves requests are served at a
	// time, and the others wait; zero: any number. These endpoints are healthy.
	Latency time.Duration `json:"latency,omitempty"`
	Sigma   float64       `json:"sigma,omitempty"`
	Serves  int           `json:"serves,omitempty"`
	// Refuse is the share of events whose first request is answered 503.
	Refuse float64 `json:"refuse,omitempty"`
}

// refuses reports whether the first request of an event is refused. Both the receiver and the bench
// use it.
func (a Answer) refuses(event string) bool {
	if a.Refuse == 0 {
		return false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(event))
	return float64(h.Sum32()) < a.Refuse*(1<<32)
}

// Endpoint is a path of the receiver that subscribes to a target's events.
type Endpoint struct {
	Target
	Path string
	Answer
	// Host is the name of the endpoint's server; "" is the receiver's address.
	Host string
	// URL is set when the receiver runs.
	URL string
}

// Healthy reports whether the endpoint accepts every event at once,
// or after its latency.
func (e *Endpoint) Healthy() bool {
	return e.Answer == Answer{Refuse: e.Refuse, Latency: e.Latency, Sigma: e.Sigma, Serves: e.Serves}
}

// Workload is a way to load a system.
type Workload struct {
	Name, About string
	Endpoints   []Endpoint
	// Turns are the targets of the events, in a cycle.
	Turns []Target
	// Events to send, in transactions of Batch.
	Events, Batch int
	// Rate in events a second, by the clock, whatever happens to earlier ones. Zero sends the next
	// transaction when the previous one is durable.
	Rate float64
	// Rounds, unless the caller wants another number.
	Rounds int
	// Patience limits how long the last events may take to arrive.
	Patience time.Duration
	// FullOnly leaves it out of the quick form, unless it is asked for by name.
	FullOnly bool
	// Group is the name of workloads that run in turn within a round, because their costs are compared
	// with the first one's.
	Group string
	// Only is the one system that it is for. "" means all.
	Only string
	// State of the tables at the start.
	State State
	// Dispatchers is the number of dispatchers. Zero means one.
	Dispatchers int
	// Nodes is the number of NATS servers, on each of which every stream has a replica. Zero means one.
	Nodes int
	// Names is how endpoints with a Host are reached. The zero value has none.
	Names Names
	// Drop drops a day past retention halfway.
	Drop bool
	// Warm is how many events for each target a round of the warm-up has; with a Rate its rounds
	// follow the rate. WarmRounds is the greatest number of rounds.
	Warm, WarmRounds int
	// WarmWindow is the length of such a round. Zero means 2 s.
	WarmWindow time.Duration
}

// Noisy reports whether some of the endpoints are bad neighbours.
func (w *Workload) Noisy() bool {
	for i := range w.Endpoints {
		if !w.Endpoints[i].Healthy() {
			return true
		}
	}
	return false
}

// healthy returns the paths of each target's healthy endpoints.
func (w *Workload) healthy() map[Target][]string { return w.paths((*Endpoint).Healthy) }

// paths returns the paths of each target's endpoints that want accepts.
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

// each returns n endpoints of one tenant, each with a target of its own.
func each(tenant string, n int, a Answer) []Endpoint {
	out := make([]Endpoint, n)
	for i := range out {
		out[i] = Endpoint{Target: target(tenant, i), Path: fmt.Sprintf("/%s/%d", tenant, i), Answer: a}
	}
	return out
}

// inTurn returns one turn for each endpoint's target, with the groups mixed.
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

// hundredTenant owns the endpoints of W1b and of the workloads that are compared with it. hundredPath
// is the path of the i-th one.
const hundredTenant = "hundred"

func hundredPath(i int) string { return fmt.Sprintf("/%s/%d", hundredTenant, i) }

// wide returns n endpoints of one target.
func wide(n int) []Endpoint {
	out := each("wide", n, Answer{})
	for i := range out {
		out[i].Target = target("wide", 0)
	}
	return out
}

// workloads returns those of the tables of results, or short ones of the same kind. scale multiplies
// the number of rows in the tables.
func workloads(quick bool, scale float64) []Workload {
	pick := func(full, short int) int {
		if quick {
			return short
		}
		return full
	}
	one, hundred, broad := each("one", 1, Answer{}), each(hundredTenant, 100, Answer{}), wide(100)
	fast := []Workload{
		{
			Name: "W1", About: "one endpoint, as fast as events are taken",
			Endpoints: one, Turns: inTurn(one), Events: pick(10_000, 4_000), Batch: 100, Warm: 300,
		},
		{
			Name: "W1b", About: "100 endpoints, as fast as events are taken",
			Endpoints: hundred, Turns: inTurn(hundred), Events: pick(10_000, 4_000), Batch: 100, Warm: 10,
		},
		{
			Name: "W2", About: "each event to 100 endpoints",
			Endpoints: broad, Turns: inTurn(broad[:1]), Events: pick(100, 40), Batch: 10, Warm: 3,
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
	refusing := each(hundredTenant, 100, Answer{Refuse: .1})
	fast = append(fast, Workload{
		Name: "retries", About: "100 endpoints, each of which refuses a tenth of the first attempts; they are due again at once when all have been made",
		Endpoints: refusing, Turns: inTurn(refusing), Events: pick(10_000, 4_000), Batch: 100, Warm: 10,
	})
	for i := range fast {
		fast[i].Rounds, fast[i].Patience = 3, 3*time.Minute
	}
	all := slices.Concat(replicated(fast), noisy(pick(40, 5), time.Duration(pick(20, 6))*time.Second), standing(scale), latencies(pick), names(pick))
	for i := range all {
		all[i].WarmRounds = pick(8, warmRounds)
		if quick {
			all[i].WarmWindow = quickWindow
		}
	}
	return all
}
