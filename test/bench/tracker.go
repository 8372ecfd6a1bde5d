package main

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// tracker compares what was sent with what arrived. Only deliveries to healthy endpoints count.
type tracker struct {
	due   map[Delivery]time.Time // when it was sent
	came  map[Delivery]time.Time // when it first arrived
	posts int                    // all arrivals of due deliveries, also repeated ones
	last  time.Time              // when the last was sent
	// refused are the deliveries whose first request is refused: false until that has arrived.
	refused map[Delivery]bool
}

func newTracker(events []sent, healthy map[Target][]string) *tracker {
	t := &tracker{due: map[Delivery]time.Time{}, came: map[Delivery]time.Time{}}
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

// expectRefusals leaves out the requests that the endpoints refuse.
func (t *tracker) expectRefusals(endpoints []Endpoint) {
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

func (t *tracker) count(arrivals []Arrival) {
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

func (t *tracker) missing() int { return len(t.due) - len(t.came) }

// untried is how many deliveries have had no request at all.
func (t *tracker) untried() int {
	n := t.missing()
	for d, came := range t.refused {
		if _, taken := t.came[d]; came && !taken {
			n--
		}
	}
	return n
}

// retried is how many deliveries arrived after they were refused.
func (t *tracker) retried() int {
	n := 0
	for d := range t.refused {
		if _, taken := t.came[d]; taken {
			n++
		}
	}
	return n
}

// await counts arrivals, from the given one on, until none is left or ctx ends. It returns how many
// POSTs of any kind there are by then.
func (t *tracker) await(ctx context.Context, rec *receiver, from int, left func() int) (int, error) {
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
		// POSTs of bad endpoints and repeated ones count here too, so it may return early. If ctx has
		// ended the loop sees it.
		_ = rec.wait(ctx, from+n)
	}
}

// took is how long a delivery took. One that never arrived took until end.
func (t *tracker) took(d Delivery, end time.Time) time.Duration {
	if came, ok := t.came[d]; ok {
		end = came
	}
	return end.Sub(t.due[d])
}

// slowest are the n slowest deliveries of a part that began at start.
func (t *tracker) slowest(start, end time.Time, n int) []Slow {
	out := make([]Slow, 0, len(t.due))
	for d, at := range t.due {
		out = append(out, Slow{Sent: at.Sub(start).Seconds(), Millis: millis(t.took(d, end))})
	}
	slices.SortFunc(out, func(a, b Slow) int { return cmp.Compare(b.Millis, a.Millis) })
	return out[:min(n, len(out))]
}

// times are how long the deliveries took, sorted. One that never arrived took until the end of the
// wait.
func (t *tracker) times(end time.Time) []time.Duration {
	out := make([]time.Duration, 0, len(t.due))
	for d := range t.due {
		out = append(out, t.took(d, end))
	}
	slices.Sort(out)
	return out
}

// arrivedBy counts the deliveries that had arrived by a time.
func (t *tracker) arrivedBy(by time.Time) int {
	n := 0
	for _, at := range t.came {
		if !at.After(by) {
			n++
		}
	}
	return n
}

// perSecond is the rate from start to the last arrival.
func (t *tracker) perSecond(start time.Time) float64 {
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

// worst is the longest time of the deliveries sent between two times. One that never arrived took
// until end.
func (t *tracker) worst(from, to, end time.Time) time.Duration {
	var worst time.Duration
	for d, at := range t.due {
		if at.Before(from) || at.After(to) {
			continue
		}
		worst = max(worst, t.took(d, end))
	}
	return worst
}
