package main

import (
	"slices"
	"time"
)

// noisy returns the workloads with bad neighbours, each of so many seconds. All events follow the
// clock, so the healthy endpoints' traffic does not depend on the others'. A system may never finish
// delivering to the bad ones, so patience limits the wait.
func noisy(seconds int, patience time.Duration) []Workload {
	hang := Answer{Hang: true}
	mixed := func(name, about string, rate float64, healthy, bad int, a Answer) Workload {
		all := slices.Concat(each("good", healthy, Answer{}), each("bad", bad, a))
		return Workload{Name: name, About: about, Endpoints: all, Turns: inTurn(all), Rate: rate}
	}
	out := []Workload{
		mixed("noise-a", "10 of 20 endpoints hang; 20 events a second in all", 20, 10, 10, hang),
		mixed("noise-b", "200 of 220 endpoints hang; 500 events a second in all", 500, 20, 200, hang),
		manyHanging(),
		mixed("noise-d", "1 of 11 endpoints answers after 5 s; 110 events a second in all", 110, 10, 1, Answer{Delay: 5 * time.Second}),
		mixed("noise-e", "1 of 11 endpoints fails for 20 s; 110 events a second in all", 110, 10, 1, Answer{FailFor: 20 * time.Second}),
	}
	for i := range out {
		w := &out[i]
		w.Events, w.Batch, w.Rounds, w.Warm = int(w.Rate*float64(seconds)), 1, 1, 30
		w.Patience, w.FullOnly = patience, w.Name != "noise-b"
	}
	return out
}

// manyHanging is one tenant with 2,000 webhooks that hang and get an event every 5 s, beside 20
// tenants with one healthy endpoint each that get two events a second.
func manyHanging() Workload {
	const tenants, every, rate = 20, 5, 2
	w := Workload{
		Name: "noise-c", About: "a tenant's 2,000 endpoints hang, 400 deliveries a second to them; 20 tenants of one endpoint, 40 a second",
		Rate: tenants*rate + 1.0/every,
	}
	w.Endpoints = each("hanging", 2000, Answer{Hang: true})
	for i := range w.Endpoints {
		w.Endpoints[i].Target = target("hanging", 0)
	}
	var healthy []Endpoint
	for i := range tenants {
		healthy = append(healthy, each("tenant"+string(rune('a'+i)), 1, Answer{})...)
	}
	w.Endpoints = append(w.Endpoints, healthy...)
	w.Turns = append(w.Turns, target("hanging", 0))
	for range every * rate {
		w.Turns = append(w.Turns, inTurn(healthy)...)
	}
	return w
}
