package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
)

const (
	faultsShort = 2  // rounds of faults, some ten seconds each
	faultsLong  = 12 // two minutes and more
	// pauseFor is longer than a dispatcher's lease on its partitions (6 s), so that another one takes
	// them before it wakes up.
	pauseFor = 8 * time.Second
)

// TestCapsAndOrderHoldWhileReplicasComeAndGo checks at the receiver that in-flight limits hold, that
// strict webhooks get events in the order of the outbox, and that none is missing.
func TestCapsAndOrderHoldWhileReplicasComeAndGo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("the replica test took too long"))
	t.Cleanup(cancel)
	f := newFleet(ctx, t)
	w := newWire(t)
	hooks := f.hooks(ctx, w)
	for i := range 3 {
		f.dispatcher(ctx, dispatcherName(i))
	}

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	load, stopLoad := context.WithCancel(ctx)
	var producers sync.WaitGroup
	sent := make([]int, 2)
	for i := range sent { // two, so that commits of one tenant overlap
		producers.Go(func() { sent[i] = f.produce(load, hooks, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	t.Cleanup(producers.Wait)
	t.Cleanup(stopLoad)

	rounds := faultsShort
	if long {
		rounds = faultsLong
	}
	faults := &faults{fleet: f, rnd: rand.New(rand.NewPCG(seed, 99))}
	for range rounds {
		faults.round(ctx)
	}
	stopLoad()
	producers.Wait()
	want := sent[0] + sent[1]

	// End the leases of the killed dispatchers without the wait.
	for _, name := range faults.alive() {
		f.stop(ctx, name)
	}
	f.sql(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE status = 'pending'`)
	f.sql(ctx, `UPDATE fanmail.outbox SET leased_until = now()`)
	for i := range 3 {
		f.dispatcher(ctx, dispatcherName(i))
	}
	delivered := `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'delivered'`
	require.Eventually(t, func() bool { return f.count(ctx, delivered) == want }, 3*time.Minute, 100*time.Millisecond,
		"every delivery is delivered in the end: %d of %d", f.count(ctx, delivered), want)
	require.Zero(t, f.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status <> 'delivered'`))
	for i := range 3 {
		f.stop(ctx, dispatcherName(i))
	}
	f.verify(ctx, hooks, w, want, faults.kills)
}

func dispatcherName(i int) string { return fmt.Sprintf("dispatcher-%d", i) }

// hook is a webhook of the test.
type hook struct {
	id          events.WebhookID
	tenant      int
	path, label string
	cap         int
	strict      bool
	weight      int // its part of the load
}

// hooks creates forty webhooks of two tenants. The load is about half of what each can take, so that
// after a fault the backlog fills the limit.
func (f *fleet) hooks(ctx context.Context, w *wire) []hook {
	tenants := []events.TenantID{f.tenant(ctx), f.tenant(ctx)}
	var out []hook
	add := func(n, most, weight int, strict bool) {
		for range n {
			i := len(out)
			h := hook{tenant: i % 2, path: fmt.Sprintf("/hook-%02d", i), label: fmt.Sprintf("hook-%02d", i), cap: most, strict: strict, weight: weight}
			h.id = f.webhook(ctx, tenants[h.tenant], w.URL+h.path, h.label, most, strict)
			slowest := 300
			if strict {
				slowest = 150
			}
			w.expect(h.path, most, between(50, slowest))
			out = append(out, h)
		}
	}
	add(10, 1, 3, false)
	add(10, 2, 6, false)
	add(8, 4, 10, false)
	add(6, 8, 16, false)
	add(6, 1, 3, true)
	return out
}

// between takes some milliseconds for each event, the same every time.
func between(least, most int) func(event string) time.Duration {
	return func(event string) time.Duration {
		h := fnv.New32a()
		_, _ = h.Write([]byte(event))
		return time.Duration(least+int(h.Sum32())%(most-least)) * time.Millisecond
	}
}

// produce inserts fifty events a second until ctx ends, and returns the number of deliveries to
// expect.
func (f *fleet) produce(ctx context.Context, hooks []hook, rnd *rand.Rand) (deliveries int) {
	var tenants [2]events.TenantID
	var byTenant [2][]string // a label for each unit of weight
	for _, h := range hooks {
		for range h.weight {
			byTenant[h.tenant] = append(byTenant[h.tenant], h.label)
		}
	}
	for i := range tenants {
		err := f.pool.QueryRow(ctx, `SELECT tenant_id FROM fanmail.webhooks WHERE id = $1`, hooks[i].id).Scan(&tenants[i])
		if err != nil {
			f.t.Errorf("read the tenant: %v", err)
			return 0
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		var batch []events.Event
		labels := 0
		for i := range 5 {
			of := i % 2
			var wants []string
			for range 1 + rnd.IntN(4) {
				if l := byTenant[of][rnd.IntN(len(byTenant[of]))]; !slices.Contains(wants, l) {
					wants = append(wants, l)
				}
			}
			labels += len(wants)
			batch = append(batch, events.Event{TenantID: tenants[of], Type: events.EmailReceived, Labels: wants, Data: json.RawMessage(`{"subject":"hello"}`)})
		}
		err := pgx.BeginFunc(context.WithoutCancel(ctx), f.pool, func(tx pgx.Tx) error {
			_, err := outbox.InsertMany(context.WithoutCancel(ctx), tx, batch)
			return err
		})
		if err != nil {
			f.t.Errorf("insert events: %v", err)
			return deliveries
		}
		deliveries += labels
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return deliveries
}

// faults is what happens to the dispatchers, drawn from a seed.
type faults struct {
	*fleet
	rnd   *rand.Rand
	extra int // dispatchers beside the first three so far
	added string
	kills int
}

func (f *faults) alive() []string {
	names := []string{dispatcherName(0), dispatcherName(1), dispatcherName(2)}
	if f.added != "" {
		names = append(names, f.added)
	}
	return names
}

// round pauses one dispatcher for longer than its lease. Meanwhile it kills one, stops one, and adds
// one or removes it.
func (f *faults) round(ctx context.Context) {
	f.t.Helper()
	f.rest(ctx, 500, 1500)
	names := f.alive()
	f.rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	paused := f.process(names[0])
	f.t.Logf("SIGSTOP %s", names[0])
	require.NoError(f.t, syscall.Kill(paused.PID(), syscall.SIGSTOP))
	awake := time.After(pauseFor)
	steps := []func(){
		func() {
			f.t.Logf("SIGKILL %s", names[1])
			f.kills++
			f.kill(names[1])
			f.rest(ctx, 100, 1000)
			f.restart(ctx, names[1])
		},
		func() {
			f.t.Logf("SIGTERM %s", names[2])
			f.stop(ctx, names[2])
			f.restart(ctx, names[2])
		},
	}
	if f.added == "" {
		steps = append(steps, func() {
			f.added = dispatcherName(3 + f.extra)
			f.extra++
			f.t.Logf("start %s", f.added)
			f.dispatcher(ctx, f.added)
		})
	}
	f.rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
		f.rest(ctx, 100, 1000)
	}
	select {
	case <-awake:
	case <-ctx.Done():
	}
	f.t.Logf("SIGCONT %s", names[0])
	require.NoError(f.t, syscall.Kill(paused.PID(), syscall.SIGCONT))
}

// restart restarts the dispatcher of that name, unless it was an added one.
func (f *faults) restart(ctx context.Context, name string) {
	f.t.Helper()
	if name == f.added {
		f.added = ""
		return
	}
	f.dispatcher(ctx, name)
}

// rest lets the fleet work for some milliseconds.
func (f *faults) rest(ctx context.Context, least, most int) {
	select {
	case <-time.After(time.Duration(least+f.rnd.IntN(most-least)) * time.Millisecond):
	case <-ctx.Done():
	}
}

// verify checks what arrived.
func (f *fleet) verify(ctx context.Context, hooks []hook, w *wire, want, kills int) {
	f.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	twice, full := 0, 0
	for _, h := range hooks {
		if w.paths[h.path].most == h.cap {
			full++
		}
		got := w.paths[h.path].events
		first := firstArrivals(got)
		twice += len(got) - len(first)
		line := f.line(ctx, h.id)
		if !h.strict {
			require.ElementsMatch(f.t, line, first, "%s: every event arrived", h.path)
			continue
		}
		require.Equal(f.t, line, first, "%s: every event, in the order of the outbox", h.path)
		for i := 1; i < len(got); i++ {
			if slices.Contains(got[:i], got[i]) && got[i] != got[i-1] {
				f.t.Errorf("%s: an event was repeated after a later one had arrived", h.path)
			}
		}
	}
	require.Greater(f.t, full, len(hooks)/2, "the caps were reached, so that the test could fail")
	f.t.Logf("%d deliveries to %d webhooks, %d of which were full at some time; %d POSTs beyond a delivery's first, after %d kills; %d from a paused process that woke up",
		want, len(hooks), full, twice, kills, w.late)
	require.Less(f.t, w.late, 1+want/1000, "hardly anything leaves a process when it wakes up")
}

// line returns a webhook's events in the order of the outbox.
func (f *fleet) line(ctx context.Context, w events.WebhookID) []string {
	f.t.Helper()
	rows, err := f.pool.Query(ctx, `SELECT event_id FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = $1 ORDER BY seq`, w)
	require.NoError(f.t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[events.ID])
	require.NoError(f.t, err)
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

func firstArrivals(got []string) []string {
	seen := make(map[string]bool, len(got))
	var out []string
	for _, id := range got {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

func TestFirstArrivalsLeaveOutRepeats(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"a", "b", "c"}, firstArrivals([]string{"a", "b", "b", "a", "c"}))
}
