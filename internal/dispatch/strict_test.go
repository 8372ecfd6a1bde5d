package dispatch_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func strict(w *subscribers.Webhook) { w.Ordering = subscribers.OrderingStrict }

// order gives the numbers of the events that the path answered 2xx, as they
// ended.
func (r *rig) order(path string) []int {
	var got []int
	for _, p := range r.sink.PostsTo(path) {
		env, err := events.DecodeEnvelope(p.Body)
		require.NoError(r.t, err)
		var data struct{ N int }
		require.NoError(r.t, json.Unmarshal(env.Data, &data))
		got = append(got, data.N)
	}
	return got
}

func numbered(from int) func(int, *events.Event) {
	return func(i int, ev *events.Event) { ev.Data = json.RawMessage(fmt.Sprintf(`{"n":%d}`, from+i)) }
}

func TestAStrictWebhookGetsItsEventsInSequenceOneAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO fanmail.strict_tenants SELECT id FROM fanmail.tenants ON CONFLICT DO NOTHING`)
	r.webhook("/strict", strict)
	r.webhook("/free")
	r.relay()
	stop := r.dispatcher()
	r.dispatcher() // fan-out runs on both
	const n = 200
	for i := 0; i < n; i += 20 {
		r.insert(20, numbered(i))
		if i == n/2 {
			stop() // its partitions move
		}
	}
	r.settles(map[string]int{"delivered": 2 * n})
	got := r.order("/strict")
	require.Len(t, got, n)
	for i, v := range got {
		require.Equal(t, i, v, "in the order of the outbox")
	}
	_, most := r.sink.InFlight("/strict")
	require.Equal(t, 1, most)
	require.Equal(t, n, r.sink.CountTo("/free"))
}

func TestARetryHoldsTheLine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO fanmail.strict_tenants SELECT id FROM fanmail.tenants ON CONFLICT DO NOTHING`)
	w := r.webhook("/strict", strict)
	var mu sync.Mutex
	failed := map[string]bool{}
	r.sink.Script("/strict", func(c sink.Call) sink.Answer {
		mu.Lock()
		defer mu.Unlock()
		if c.N == 3 && !failed[c.EventID] { // the third event fails once
			failed[c.EventID] = true
			return sink.Answer{Status: http.StatusInternalServerError}
		}
		return sink.Answer{}
	})
	r.relay()
	stop := r.dispatcher()
	r.insert(6, numbered(0))
	require.NoError(t, r.sink.WaitFor(r.ctx(), 3))
	r.settles(map[string]int{"delivered": 2, "pending": 4})
	require.Never(t, func() bool { return r.sink.Count() > 3 }, 500e6, 50e6, "nothing overtakes the one that failed")
	stop() // nor does a new owner let anything pass
	r.dispatcher()
	require.Never(t, func() bool { return r.sink.Count() > 3 }, 500e6, 50e6)
	r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE attempts > 0 AND status = 'pending'`)
	r.wake(w)
	r.settles(map[string]int{"delivered": 6})
	require.Equal(t, []int{0, 1, 2, 2, 3, 4, 5}, r.order("/strict"))
}

func TestAnEarlierEventThatIsNotFannedOutHoldsTheLine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO fanmail.strict_tenants SELECT id FROM fanmail.tenants ON CONFLICT DO NOTHING`)
	w := r.webhook("/strict", strict)
	first := r.insert(1, numbered(0))
	// Somebody else's relay has it under a lease and is slow.
	r.exec(`UPDATE fanmail.outbox SET leased_until = now() + interval '1 hour' WHERE event_id = $1`, first[0])
	r.relay()
	r.dispatcher()
	r.insert(3, numbered(1))
	r.inserted(3)
	r.wake(w)
	require.Never(t, func() bool { return r.sink.Count() > 0 }, 500e6, 50e6)
	r.exec(`UPDATE fanmail.outbox SET leased_until = now()`)
	r.settles(map[string]int{"delivered": 4})
	require.Equal(t, []int{0, 1, 2, 3}, r.order("/strict"))
}

func TestAChangeOfOrderingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO fanmail.strict_tenants SELECT id FROM fanmail.tenants ON CONFLICT DO NOTHING`)
	w := r.webhook("/w", func(w *subscribers.Webhook) { w.MaxInFlight = 1 })
	hold := make(chan struct{})
	r.sink.Script("/w", sink.Hang(hold))
	r.relay()
	r.dispatcher()
	r.insert(10)
	r.inserted(10)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	r.set(w, "ordering = 'strict'")
	r.insert(10)
	r.inserted(20)
	r.set(w, "ordering = 'none'")
	r.set(w, "ordering = 'strict'")
	close(hold)
	r.settles(map[string]int{"delivered": 20})
	require.Equal(t, 20, r.sink.Count())
}
