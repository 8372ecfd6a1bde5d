package dispatch_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func (r *rig) owners() map[string]int {
	rows, err := r.pool.Query(context.Background(), `SELECT coalesce(owner::text, ''), count(*)::int FROM fanmail.partition_owners WHERE leased_until > now() OR owner IS NULL GROUP BY 1`)
	require.NoError(r.t, err)
	defer rows.Close()
	got := map[string]int{}
	for rows.Next() {
		var owner string
		var n int
		require.NoError(r.t, rows.Scan(&owner, &n))
		got[owner] = n
	}
	return got
}

func TestReplicasShareThePartitionsAndHandThemOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.drain = 3 * time.Minute // what a stop cuts off is sent again
	const hooks = 40
	paths := make([]string, hooks)
	for i := range paths {
		paths[i] = "/" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		r.webhook(paths[i])
		r.sink.Script(paths[i], sink.Always(sink.Answer{Delay: time.Millisecond}))
	}
	r.relay()
	stopA := r.dispatcher()
	require.Eventually(t, func() bool { o := r.owners(); return len(o) == 1 && o[""] == 0 }, 3*time.Minute, 20*time.Millisecond)
	r.insert(100)
	stopB := r.dispatcher()
	require.Eventually(t, func() bool {
		o := r.owners()
		for _, n := range o {
			if n != events.Partitions/2 {
				return false
			}
		}
		return len(o) == 2
	}, 3*time.Minute, 20*time.Millisecond, "halves: %v", r.owners())
	r.insert(100)
	stopA()
	require.Eventually(t, func() bool {
		for owner, n := range r.owners() {
			if owner != "" && n == events.Partitions {
				return true
			}
		}
		return false
	}, 3*time.Minute, 20*time.Millisecond, "all with the one that is left")
	r.insert(100)
	r.settles(map[string]int{"delivered": 300 * hooks})
	first := 0
	for _, p := range r.sink.Posts(0) {
		if p.Attempt == 1 { // others are retries: a busy machine may let one time out
			first++
		}
	}
	require.Equal(t, 300*hooks, first, "moving partitions sends nothing twice")
	stopB()
}

func TestOneDispatcherIsTheFirstInRankAndAnotherFollowsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/w")
	r.relay()
	stops := map[int]func(){}
	var ds []*dispatch.Dispatcher
	var ends []func()
	for range 3 {
		d, stop := r.replica(true)
		ds, ends = append(ds, d), append(ends, stop)
	}
	ranks := func() (got []int) {
		for i, d := range ds {
			rank, _ := d.Rank()
			stops[rank] = ends[i]
			got = append(got, rank)
		}
		slices.Sort(got)
		return got
	}
	require.Eventually(t, func() bool { return slices.Equal(ranks(), []int{0, 1, 2}) }, time.Minute, 5*time.Millisecond)
	var second *dispatch.Dispatcher
	var changed <-chan struct{}
	for _, d := range ds {
		if rank, c := d.Rank(); rank == 1 {
			second, changed = d, c
		}
	}
	r.insert(100)
	r.settles(map[string]int{"delivered": 100})
	stops[0]()
	<-changed
	rank, _ := second.Rank()
	require.Zero(t, rank)
	r.insert(100)
	r.settles(map[string]int{"delivered": 200})
	require.Equal(t, 200, r.sink.Count())
}

func TestStoppingReleasesWhatIsQueuedAndHandsEverythingOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/w")
	r.sink.Script("/w", sink.Always(sink.Answer{Delay: 20 * time.Millisecond}))
	r.relay()
	stop := r.dispatcher()
	r.insert(400)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 20))
	stop()
	posted := r.sink.Count()
	got := r.statuses()
	require.Equal(t, posted, got["delivered"], "what was in flight is recorded before the process ends")
	require.Equal(t, map[string]int{"": events.Partitions}, r.owners())
	r.dispatcher()
	r.settles(map[string]int{"delivered": 400})
	require.Equal(t, 400, r.sink.Count(), "nothing is sent twice")
}

func TestLosingAllOfJetStreamLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/w")
	stop := r.relay()
	ids := r.insert(50)
	// Relayed, not fanned out; then the broker forgets everything.
	require.Eventually(t, func() bool {
		var n int
		err := r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.outbox WHERE publishes > 0`).Scan(&n)
		return err == nil && n == len(ids)
	}, 30*time.Second, 10*time.Millisecond)
	stop()
	for _, name := range []string{stream.Events, stream.Deliveries} {
		require.NoError(t, r.js.DeleteStream(context.Background(), name))
	}
	r.exec(`UPDATE fanmail.outbox SET leased_until = now()`) // the lease runs out
	r.relay()
	r.dispatcher()
	r.settles(map[string]int{"delivered": 50})
	require.Equal(t, 50, r.sink.CountTo("/w"))
}

func TestResettingTheFanoutConsumerSendsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/w")
	r.relay()
	stop := r.dispatcher()
	r.insert(300)
	r.settles(map[string]int{"delivered": 300})
	stop()
	r.webhook("/later")
	require.NoError(t, r.js.DeleteConsumer(context.Background(), stream.Events, stream.Fanout))
	r.dispatcher()
	marker := r.insert(1)
	r.settles(map[string]int{"delivered": 302}) // the new event alone, to both
	require.Equal(t, 302, r.sink.Count())
	require.Equal(t, marker[0].String(), r.sink.PostsTo("/later")[0].EventID)
}

func TestOnlyTheOwnerAnswersForALane(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/w")
	hold := make(chan struct{})
	defer close(hold)
	r.sink.Script("/w", sink.Hang(hold))
	r.relay()
	r.dispatcher()
	r.dispatcher()
	require.Eventually(t, func() bool { o := r.owners(); return len(o) == 2 && o[""] == 0 }, 60*time.Second, 20*time.Millisecond)
	r.insert(10)
	r.inserted(10)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 4))
	answers, err := r.nc.SubscribeSync("answers")
	require.NoError(t, err)
	var lane subscribers.LaneState
	ctx := r.ctx()
	for lane.Queued < 6 { // the last deliveries may still be on their way to the lane
		require.NoError(t, ctx.Err(), "%+v", lane)
		require.NoError(t, r.nc.PublishRequest(events.AskLane(w), "answers", nil))
		m, err := answers.NextMsg(30 * time.Second)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(m.Data, &lane))
	}
	require.Equal(t, "active", lane.State)
	require.Equal(t, "test", lane.Owner)
	require.Equal(t, 4, lane.InFlight)
	require.Equal(t, 6, lane.Queued)
	require.Equal(t, events.Partition(w), lane.Partition)
	_, err = answers.NextMsg(300 * time.Millisecond)
	require.ErrorIs(t, err, nats.ErrTimeout, "the other one is silent")
}
