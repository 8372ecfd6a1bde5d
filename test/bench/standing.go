package main

import (
	"fmt"
	"time"
)

// standing returns the workloads that show whether the cost of a delivery grows with the rows in the
// tables, the webhooks, the fan-out or the dispatchers. Each group is compared with its first
// workload.
func standing(scale float64) []Workload {
	const m = 1_000_000
	hundred := each(hundredTenant, 100, Answer{})
	base := Workload{Endpoints: hundred, Turns: inTurn(hundred), Events: 10_000, Batch: 100, Warm: 10}
	var out []Workload
	add := func(group, name, about string, w Workload) {
		w.Group, w.Name, w.About = group, name, about
		w.State = w.State.scaled(scale)
		w.About += w.State.about()
		w.Only, w.FullOnly, w.Patience = "fanmail", true, 3*time.Minute
		if w.Rounds == 0 {
			w.Rounds = 3
		}
		out = append(out, w)
	}
	with := func(s State) Workload { w := base; w.State = s; return w }
	add("state", "empty", "W1b on empty tables", base)
	add("state", "history-1M", "W1b beside history", with(State{History: m}))
	add("state", "history-10M", "W1b beside history", with(State{History: 10 * m}))
	add("state", "due-1M", "W1b beside due rows of 200 dead endpoints", with(State{Due: m}))
	add("state", "history-10M-due-1M", "W1b beside both", with(State{History: 10 * m, Due: m}))

	spread := func(n int) Workload {
		w := base
		w.Endpoints = nil
		for from := 0; from < n; from += 50 {
			w.Endpoints = append(w.Endpoints, each(fmt.Sprintf("spread%d", from/50), min(50, n-from), Answer{})...)
		}
		w.Turns, w.Warm = inTurn(w.Endpoints), max(1, 1000/n)
		return w
	}
	add("webhooks", "webhooks-10", "10 webhooks", spread(10))
	add("webhooks", "webhooks-1000", "1,000 webhooks, 50 a tenant, all with events", spread(1000))
	many := spread(1000)
	many.State.Webhooks = 99_000
	add("webhooks", "webhooks-100k", "1,000 webhooks, 50 a tenant, with events, and 99,000 without", many)

	fan := func(n, events, batch int) Workload {
		w := base
		w.Endpoints = wide(n)
		w.Turns, w.Events, w.Batch, w.Warm = inTurn(w.Endpoints[:1]), events, batch, max(1, 1000/n)
		return w
	}
	add("fan-out", "fan-out-1", "each event to one endpoint", fan(1, 20_000, 100))
	add("fan-out", "fan-out-100", "each event to 100 endpoints", fan(100, 200, 10))
	add("fan-out", "fan-out-5000", "each event to 5,000 endpoints", fan(5000, 4, 1))

	for n := 1; n <= 3; n++ {
		w, wide := base, fan(100, 200, 10)
		w.Events, w.Dispatchers, wide.Dispatchers = 20_000, n, n
		add("dispatchers", fmt.Sprintf("dispatchers-%d", n), fmt.Sprintf("100 endpoints, dispatchers: %d", n), w)
		add("dispatchers", fmt.Sprintf("dispatchers-wide-%d", n), fmt.Sprintf("each event to 100 endpoints, dispatchers: %d", n), wide)
	}

	drop := with(State{OldDay: 10 * m})
	drop.Events, drop.Batch, drop.Rate, drop.Rounds, drop.Drop = 200*30, 1, 200, 1, true
	add("drop", "drop-day", "200 events a second to 100 endpoints while a day is dropped", drop)
	return out
}
