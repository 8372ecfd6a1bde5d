package main

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// tally holds what was sent against what arrived. Only deliveries to healthy
// endpoints count.
type tally struct {
	due   map[Delivery]time.Time // when it was sent
	came  map[Delivery]time.Time // when it arrived first
	posts int                    // arrivals of those due, the second ones too
	last  time.Time              // when the last was sent
	// refused are the deliveries whose first request was, or will be, refused:
	// false until it has come.
	refused map[Delivery]bool
}

func newTally(events []sent, healthy map[Target][]string) *tally {
	t := &tally{due: map[Delivery]time.Time{}, came: map[Delivery]time.Time{}}
	for _, ev := range events {
		for _, path := range healthy[ev.to] {
			t.due[Delivery{ev.id, path}] = ev.at
		}
		if ev.at.After(t.last) {
			t.last = ev.at
		}
	}
	return t
}

// expectRefusals has the requests not counted that the endpoints refuse.
func (t *tally) expectRefusals(endpoints []Endpoint) {
	t.refused = map[Delivery]bool{}
	answers := map[string]Answer{}
	for i := range endpoints {
		answers[endpoints[i].Path] = endpoints[i].Answer
	}
	for d := range t.due {
		if answers[d.Path].refuses(d.ID) {
			t.refused[d] = false
		}
	}
}

func (t *tally) count(arrivals []Arrival) {
	for _, a := range arrivals {
		if _, ours := t.due[a.Delivery]; !ours {
			continue
		}
		if came, refused := t.refused[a.Delivery]; refused && !came {
			t.refused[a.Delivery] = true
			continue
		}
		t.posts++
		if _, again := t.came[a.Delivery]; !again {
			t.came[a.Delivery] = a.At
		}
	}
}

func (t *tally) missing() int { return len(t.due) - len(t.came) }

// untried is how many deliveries have had no request at all.
func (t *tally) untried() int {
	n := t.missing()
	for d, came := range t.refused {
		if _, taken := t.came[d]; came && !taken {
			n--
		}
	}
	return n
}

// retried is how many have arrived that had been refused.
func (t *tally) retried() int {
	n := 0
	for d := range t.refused {
		if _, taken := t.came[d]; taken {
			n++
		}
	}
	return n
}

// await counts arrivals, from the given one on, until none is left or ctx
// ends. It gives how many POSTs of any kind there are by then.
func (t *tally) await(ctx context.Context, rec *receiver, from int, left func() int) (int, error) {
	for {
		news, err := rec.arrivals(context.WithoutCancel(ctx), from)
		if err != nil {
			return from, err
		}
		t.count(news)
		from += len(news)
		n := left()
		if n == 0 || ctx.Err() != nil {
			return from, nil
		}
		// Those of bad endpoints and second ones count here, so it may come
		// back early; when ctx ends the loop sees it.
		_ = rec.wait(ctx, from+n)
	}
}

// took is how long a delivery took; one that never came took until end.
func (t *tally) took(d Delivery, end time.Time) time.Duration {
	if came, ok := t.came[d]; ok {
		end = came
	}
	return end.Sub(t.due[d])
}

// slowest are the n slowest deliveries of a part that began at start.
func (t *tally) slowest(start, end time.Time, n int) []Slow {
	out := make([]Slow, 0, len(t.due))
	for d, at := range t.due {
		out = append(out, Slow{Sent: at.Sub(start).Seconds(), Millis: millis(t.took(d, end))})
	}
	slices.SortFunc(out, func(a, b Slow) int { return cmp.Compare(b.Millis, a.Millis) })
	return out[:min(n, len(out))]
}

// times are how long the deliveries took, sorted. Those that never came took
// until the end of the waiting.
func (t *tally) times(end time.Time) []time.Duration {
	out := make([]time.Duration, 0, len(t.due))
	for d := range t.due {
		out = append(out, t.took(d, end))
	}
	slices.Sort(out)
	return out
}

// arrivedBy counts the deliveries that had come by a time.
func (t *tally) arrivedBy(by time.Time) int {
	n := 0
	for _, at := range t.came {
		if !at.After(by) {
			n++
		}
	}
	return n
}

// perSecond is the rate from start to the last arrival.
func (t *tally) perSecond(start time.Time) float64 {
	last := start
	for _, at := range t.came {
		if at.After(last) {
			last = at
		}
	}
	if last.Equal(start) {
		return 0
	}
	return float64(len(t.came)) / last.Sub(start).Seconds()
}

// worst is the longest time of those sent between two times; those that never
// came took until end.
func (t *tally) worst(from, to, end time.Time) time.Duration {
	var worst time.Duration
	for d, at := range t.due {
		if at.Before(from) || at.After(to) {
			continue
		}
		worst = max(worst, t.took(d, end))
	}
	return worst
}
