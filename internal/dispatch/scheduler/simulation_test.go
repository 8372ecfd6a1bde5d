package scheduler

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An endpoint says how long an attempt takes that begins at t.
type endpoint interface {
	answer(t time.Duration) time.Duration
}

// fixed endpoints answer after the same time, however many attempts there are.
type fixed time.Duration

func (f fixed) answer(time.Duration) time.Duration { return time.Duration(f) }

// spread endpoints' latency is log-normal.
type spread struct {
	median time.Duration
	sigma  float64
	random *rand.Rand
}

func (s *spread) answer(time.Duration) time.Duration {
	return min(attemptTimeout-time.Millisecond, time.Duration(float64(s.median)*math.Exp(s.sigma*s.random.NormFloat64())))
}

// serving endpoints serve so many attempts at a time; others wait in line.
type serving struct {
	service time.Duration
	free    []time.Duration // when each server is free
}

func (s *serving) answer(t time.Duration) time.Duration {
	first := 0
	for i, at := range s.free {
		if at < s.free[first] {
			first = i
		}
	}
	s.free[first] = max(t, s.free[first]) + s.service
	return s.free[first] - t
}

// changing endpoints become others in time.
type changing struct {
	at          time.Duration
	before, now endpoint
}

func (c *changing) answer(t time.Duration) time.Duration {
	if t >= c.at {
		return c.now.answer(t)
	}
	return c.before.answer(t)
}

// ending is an attempt that ends at a time of the simulation.
type ending struct {
	at      time.Duration
	latency time.Duration
	d       *Delivery
}

type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// simulation is a scheduler with webhooks that always have a backlog, and their
// endpoint, in simulated time.
type simulation struct {
	*bench
	webhooks []*Webhook
	e        endpoint
	t        time.Duration
	inFlight endings
}

func simulate(t *testing.T, most int, e endpoint) *simulation {
	t.Helper()
	return &simulation{bench: newBench(t, 8192, 32768), webhooks: []*Webhook{hook(1, 1, most)}, e: e}
}

// second is what the endpoint saw within one second.
type second struct{ completed, most int }

// run lets so many seconds pass.
func (s *simulation) run(seconds int) (out []second) {
	for range seconds {
		out = append(out, s.runSecond())
	}
	return out
}

func (s *simulation) runSecond() (out second) {
	end := s.t + time.Second
	for {
		for more := true; more; {
			for _, w := range s.webhooks {
				for a := Queued; a == Queued && s.waiting(w) < 64; {
					a, _ = s.offer(w, 0)
				}
			}
			started := s.begin()
			for _, d := range started {
				latency := s.e.answer(s.t)
				heap.Push(&s.inFlight, ending{at: s.t + latency, latency: latency, d: d})
			}
			more = len(started) > 0
		}
		out.most = max(out.most, len(s.inFlight))
		next := end
		if len(s.inFlight) > 0 {
			next = min(next, s.inFlight[0].at)
		}
		s.bench.pass(next - s.t)
		s.t = next
		if s.t == end {
			return out
		}
		x := heap.Pop(&s.inFlight).(ending)
		r := Result{Outcome: Delivered, Duration: x.latency, Latency: x.latency}
		s.Scheduler.Finish(s.now, x.d, r)
		s.Recorded(s.now, x.d, 0)
		out.completed++
	}
}

// waiting returns how many deliveries of the webhook are queued.
func (s *simulation) waiting(w *Webhook) int {
	if l := s.lanes[w.ID]; l != nil {
		return l.queued()
	}
	return 0
}

// hundred is a simulation of a hundred webhooks of one tenant, all at one endpoint.
func hundred(t *testing.T, e endpoint) *simulation {
	t.Helper()
	s := simulate(t, most, e)
	for i := range byte(99) {
		s.webhooks = append(s.webhooks, hook(i+2, 1, most))
	}
	return s
}

const (
	ms = time.Millisecond
	// most is the default of max_in_flight.
	most = 1024
)

func servers(n int) *serving { return &serving{service: 100 * ms, free: make([]time.Duration, n)} }

func total(seconds []second) (completed, most int) {
	for _, s := range seconds {
		completed, most = completed+s.completed, max(most, s.most)
	}
	return completed, most
}

func TestAnEndpointFarAwayGetsHundredsInFlight(t *testing.T) {
	t.Parallel()
	s := simulate(t, most, fixed(150*ms))
	s.run(3)
	completed, _ := total(s.run(60))
	require.Greater(t, completed, 60*most*1000/150*95/100, "all that fits into the limit, but for measuring the base anew")
}

func TestAnEndpointThatServesAFewAtATimeGetsLittleMore(t *testing.T) {
	t.Parallel()
	for _, n := range []int{20, 100} {
		s := simulate(t, most, servers(n))
		s.run(10)
		completed, atOnce := total(s.run(60))
		require.Greater(t, completed, 60*10*n*95/100, "its capacity")
		require.LessOrEqual(t, atOnce, 3*n, "attempts at once")
	}
}

func TestAnEndpointThatServesOneAtATimeGetsFew(t *testing.T) {
	t.Parallel()
	s := simulate(t, most, servers(1))
	s.run(60)
	completed, atOnce := total(s.run(60))
	require.Greater(t, completed, 60*10*90/100, "its capacity")
	require.LessOrEqual(t, atOnce, 20)
}

// A hundred windows see the queue that stands before all of them much later than
// the answers of all show it.
func TestAHundredEndpointsBehindOneQueueGetNoMoreSlotsThanTheProcessHasAtLeast(t *testing.T) {
	t.Parallel()
	s := hundred(t, &serving{service: ms / 2, free: make([]time.Duration, 8)})
	completed, atOnce := total(s.run(5))
	require.Greater(t, completed, 5*16_000*95/100, "its capacity")
	require.LessOrEqual(t, atOnce, 2*leastPerCore)
}

func TestAHundredEndpointsFarAwayGetAllSlotsOfATenant(t *testing.T) {
	t.Parallel()
	for _, e := range []endpoint{fixed(150 * ms), &spread{120 * ms, 0.866, rand.New(rand.NewPCG(1, 2))}} {
		s := hundred(t, e)
		s.run(10)
		_, atOnce := total(s.run(5))
		require.Greater(t, atOnce, 8192/2*9/10)
	}
}

// The median is 120 ms, the 99th percentile 900 ms.
func TestSpreadLatencyLeavesTheWindowOpen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		for _, limit := range []int{8, 32, 256, most} {
			s := simulate(t, limit, &spread{120 * ms, 0.866, rand.New(rand.NewPCG(seed, uint64(limit)))})
			s.run(15)
			completed, _ := total(s.run(120))
			mean := 0.1745 // seconds
			require.Greater(t, float64(completed), 0.8*120*float64(limit)/mean, "seed %d, limit %d", seed, limit)
		}
	}
}

func TestAnEndpointThatHasBecomeFartherIsNotThrottledForLong(t *testing.T) {
	t.Parallel()
	for _, later := range []time.Duration{50 * ms, 400 * ms, 900 * ms} {
		s := simulate(t, most, &changing{at: 10 * time.Second, before: fixed(150 * ms), now: fixed(later)})
		s.run(20)
		completed, _ := total(s.run(30))
		require.Greater(t, float64(completed), 0.9*30*most/later.Seconds(), "at %s", later)
	}
}

func TestAnEndpointThatLosesItsCapacityGetsFewer(t *testing.T) {
	t.Parallel()
	s := simulate(t, most, &changing{at: 10 * time.Second, before: fixed(100 * ms), now: servers(20)})
	s.run(40)
	completed, atOnce := total(s.run(60))
	require.Greater(t, completed, 60*200*95/100)
	require.LessOrEqual(t, atOnce, 60)
}

func TestTheMedianOfLatenciesIsCloseToTheSamples(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, 100 * time.Microsecond, ms, 42 * ms, 150 * ms, 3 * time.Second, time.Minute} {
		var l latencies
		for range 3 * mostSamples {
			l.add(d)
		}
		require.Equal(t, mostSamples, l.n)
		within := float64(min(max(d, leastLatency), 16*time.Second))
		require.InEpsilon(t, within, float64(l.median()), 0.2)
	}
	var l latencies
	for i := range 100 {
		l.add(100 * ms)
		if i%3 == 0 {
			l.add(10 * time.Second)
		}
	}
	require.InEpsilon(t, float64(100*ms), float64(l.median()), 0.2, "a quarter that is very slow")
}
