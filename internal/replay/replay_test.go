package replay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func progress(r replay.Replay) [4]int64 {
	return [4]int64{r.Matched, r.Enqueued, r.Delivered, r.Failed}
}

func TestAMissedReplaySendsEachMissedEventOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.runner(replay.Options{})
	w := r.webhook("/in")
	received := r.insert(20)
	require.NoError(t, r.sink.WaitForPath(context.Background(), "/in", 20))
	r.enable(w, false)
	missed := r.insert(700)
	r.enable(w, true)
	require.Eventually(t, func() bool {
		return r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending'`) == 0
	}, patience, 20*time.Millisecond)

	// No deliveries were inserted while the webhook was disabled.
	got := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	require.Equal(t, "jetstream", got.Source)
	require.Equal(t, [4]int64{720, 700, 700, 0}, progress(got))
	arrived := r.arrived("/in")
	require.ElementsMatch(t, append(slices.Clone(received), missed...), arrived, "each once")
	require.Equal(t, 700, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE replay_id = $1 AND kind = 'replay' AND created_at = $2`, got.ID, got.CreatedAt))

	second := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	require.Equal(t, [4]int64{720, 0, 0, 0}, progress(second))
	require.Len(t, r.arrived("/in"), 720)
}

func TestANewWebhookReceivesPastEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.runner(replay.Options{})
	labelled := func(i int, e *events.Event) {
		e.Labels = []string{fmt.Sprint("n", i%2)}
		if i%4 == 0 {
			e.Type = events.EmailSent
		}
	}
	ids := r.insert(40, labelled)
	w := r.webhook("/late", func(w *subscribers.Webhook) {
		w.Events = events.Catalogue()
		w.Filters.Labels = []string{"n0"}
	})
	require.Empty(t, r.arrived("/late"))
	got := r.waitFor(r.create(replay.Request{WebhookID: w, Types: []events.Type{events.EmailSent}}).ID, replay.Completed)
	require.Equal(t, [4]int64{10, 10, 10, 0}, progress(got))
	var want []events.ID
	for i := 0; i < 40; i += 4 {
		want = append(want, ids[i])
	}
	require.ElementsMatch(t, want, r.arrived("/late"))

	// Mode all sends all 20 matching events, also the 10 that were delivered.
	got = r.waitFor(r.create(replay.Request{WebhookID: w, Mode: replay.All}).ID, replay.Completed)
	require.Equal(t, [4]int64{20, 20, 20, 0}, progress(got))
	require.Len(t, r.arrived("/late"), 30)
}

func TestEventsMissingInTheStreamComeFromTheTable(t *testing.T) {
	t.Parallel()
	deleteStream := func(r *rig) {
		require.NoError(r.t, r.js.DeleteStream(context.Background(), stream.Events))
	}
	for _, tc := range []struct {
		name, source string
		early        func(r *rig) []events.ID // the events that it has inserted
		late         func(r *rig)
	}{
		{"the older half has expired", "both", func(r *rig) []events.ID { r.purge(300); return nil }, nil},
		{"the stream was lost and created again", "both", func(r *rig) []events.ID {
			deleteStream(r)
			// The fan-out creates the stream as well. The broker may refuse one of two
			// simultaneous requests to create a consumer.
			require.Eventually(r.t, func() bool {
				return stream.Ensure(context.Background(), r.js, stream.Options{}) == nil
			}, patience, 20*time.Millisecond)
			return r.streamed()
		}, nil},
		{"the stream is gone", "postgres", nil, deleteStream},
		{"the stream is empty", "postgres", nil, func(r *rig) { r.purge(600) }},
		{"a gap that the stream's state does not show", "both", nil, func(r *rig) {
			s, err := r.js.Stream(context.Background(), stream.Events)
			require.NoError(r.t, err)
			for seq := uint64(100); seq < 200; seq++ {
				require.NoError(r.t, s.DeleteMsg(context.Background(), seq))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ids := r.insert(300)
			if tc.early != nil {
				ids = append(ids, tc.early(r)...)
			}
			ids = append(ids, r.insert(10)...)
			r.wait(2 * skew)
			ids = append(ids, r.insert(290)...)
			if tc.source == "both" {
				ids = append(ids, r.streamed()...)
			}
			if tc.late != nil {
				tc.late(r)
			}
			w := r.webhook("/in")
			r.runner(replay.Options{Skew: skew})
			got := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
			require.Equal(t, tc.source, got.Source)
			n := int64(len(ids))
			require.Equal(t, [4]int64{n, n, n, 0}, progress(got), "no event is missing or counted twice")
			require.ElementsMatch(t, ids, r.arrived("/in"))
		})
	}
}

func TestBothSourcesRespectTheWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.insert(30)
	var since, until time.Time
	clock := func() (at time.Time) {
		require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT clock_timestamp()`).Scan(&at))
		return at
	}
	since = clock()
	want := r.insert(30)
	until = clock()
	r.insert(30)
	w := r.webhook("/in")
	r.runner(replay.Options{})
	got := r.waitFor(r.create(replay.Request{WebhookID: w, Since: since, Until: until}).ID, replay.Completed)
	require.Equal(t, "jetstream", got.Source)
	require.ElementsMatch(t, want, r.arrived("/in"))
	require.NoError(t, r.js.DeleteStream(context.Background(), stream.Events))
	got = r.waitFor(r.create(replay.Request{WebhookID: w, Since: since, Until: until, Mode: replay.All}).ID, replay.Completed)
	require.Equal(t, "postgres", got.Source)
	require.ElementsMatch(t, append(slices.Clone(want), want...), r.arrived("/in"))
}

func TestPendingDeliveriesAndTestEventsAreNotReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sink.Script("/in", sink.Status(500))
	w := r.webhook("/in")
	r.insert(5)
	require.NoError(t, r.sink.WaitForPath(context.Background(), "/in", 5))
	r.sink.Script("/in", nil)
	_, err := r.hooks.InsertTest(context.Background(), r.tenant, w, subscribers.TestEvent{Type: "email.received"})
	require.NoError(t, err)
	r.runner(replay.Options{})
	got := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	require.Equal(t, [4]int64{5, 0, 0, 0}, progress(got))
	require.Equal(t, "jetstream", got.Source, "the check does not count the test event")

	// After the last attempt failed, the events count as missed.
	r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET status = 'failed', next_retry_at = NULL, finished_at = now() WHERE webhook_id = $1 AND kind = 'live'`, w)
	got = r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	require.Equal(t, [4]int64{5, 5, 5, 0}, progress(got))
}

func TestConcurrentMissedReplaysSendAnEventOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.insert(400)
	w := r.webhook("/in")
	one, two := r.create(replay.Request{WebhookID: w}), r.create(replay.Request{})
	r.runner(replay.Options{})
	r.runner(replay.Options{})
	a, b := r.waitFor(one.ID, replay.Completed), r.waitFor(two.ID, replay.Completed)
	require.EqualValues(t, 400, a.Enqueued+b.Enqueued)
	require.EqualValues(t, 400, a.Delivered+b.Delivered)
	require.ElementsMatch(t, ids, r.arrived("/in"))
}

func TestACancelledReplayStops(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	r.sink.Script("/in", sink.Hang(hold))
	r.insert(300)
	w := r.webhook("/in", func(w *subscribers.Webhook) { w.MaxInFlight = 2 })
	r.runner(replay.Options{})
	made := r.create(replay.Request{WebhookID: w})
	require.Eventually(t, func() bool { return r.get(made.ID).Enqueued > 0 && r.sink.CountTo("/in") > 0 }, patience, 10*time.Millisecond)
	_, err := r.replays.Cancel(context.Background(), r.tenant, made.ID)
	require.NoError(t, err)
	require.NoError(t, r.nc.Publish(events.WakeReplays, nil))
	// Deliveries that are already in the lane may still be sent.
	r.sink.Script("/in", nil)
	close(hold)
	got := r.waitFor(made.ID, replay.Cancelled)
	require.Equal(t, got.Enqueued, got.Delivered+got.Failed)
	require.Less(t, got.Enqueued, int64(300))
	require.EqualValues(t, got.Failed, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE replay_id = $1 AND status = 'failed'`, made.ID))
	require.Zero(t, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE replay_id = $1 AND (status = 'pending' OR status = 'failed' AND last_error <> 'cancelled')`, made.ID))

	_, err = r.replays.Cancel(context.Background(), r.tenant, made.ID)
	require.NoError(t, err, "cancelling again changes nothing")
	done := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	_, err = r.replays.Cancel(context.Background(), r.tenant, done.ID)
	require.ErrorIs(t, err, replay.ErrCompleted)
}

func TestAnotherProcessContinuesAReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.insert(2000)
	w := r.webhook("/in")
	made := r.create(replay.Request{WebhookID: w})
	stop := r.runner(replay.Options{Rate: 400})
	require.NoError(t, r.sink.WaitForPath(context.Background(), "/in", 100))
	stop()
	at := r.get(made.ID)
	require.Equal(t, replay.Running, at.State)
	require.Less(t, at.Enqueued, int64(2000))
	// Imitate a killed process: its claim stays until the lease expires.
	r.exec(`UPDATE fanmail.replays SET runner = gen_random_uuid(), leased_until = now() + interval '2 seconds' WHERE id = $1`, made.ID)
	r.runner(replay.Options{})
	r.runner(replay.Options{})
	got := r.waitFor(made.ID, replay.Completed)
	require.Equal(t, [4]int64{2000, 2000, 2000, 0}, progress(got))
	require.ElementsMatch(t, ids, r.arrived("/in"))
}

func TestAStrictWebhookIsReplayedInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.insert(70)
	r.purge(70) // the first 70 come from the table, the others from the stream
	first = append(first, r.insert(10)...)
	r.wait(2 * skew)
	first = append(first, r.insert(70)...)
	w := r.webhook("/in", func(w *subscribers.Webhook) { w.Ordering = subscribers.OrderingStrict })
	r.runner(replay.Options{Skew: skew})
	got := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	require.Equal(t, "both", got.Source)
	require.Equal(t, first, r.arrived("/in"))
}

func TestAFailingWebhookDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.insert(300)
	bad := r.webhook("/bad")
	good := r.webhook("/good")
	r.sink.Script("/bad", sink.Status(503))
	r.runner(replay.Options{})
	made := r.create(replay.Request{})
	require.NoError(t, r.sink.WaitForPath(context.Background(), "/good", 300))
	got := r.get(made.ID)
	require.EqualValues(t, 600, got.Matched)
	require.Equal(t, replay.Running, got.State)
	require.Equal(t, 300, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE replay_id = $1 AND webhook_id = $2`, made.ID, good))
	require.Positive(t, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE replay_id = $1 AND webhook_id = $2`, made.ID, bad))
	require.Less(t, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE replay_id = $1 AND webhook_id = $2 AND attempts = 0`, made.ID, bad), 100, "the number of waiting deliveries is limited")
}

func TestAnEventThatIsNotFannedOutIsNotReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.insert(10)
	// An outbox row that no relay may lease yet.
	r.exec(`INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at, leased_until)
		SELECT tenant_id, seq, id, created_at, now() + interval '1 hour' FROM fanmail.events WHERE id = $1`, ids[4])
	w := r.webhook("/in")
	r.runner(replay.Options{})
	made := r.create(replay.Request{WebhookID: w})
	require.Eventually(t, func() bool { return r.count(`SELECT count(*) FROM fanmail.replays WHERE leased_until > now()`) == 1 }, patience, 10*time.Millisecond)
	require.Empty(t, r.arrived("/in"))
	r.exec(`UPDATE fanmail.outbox SET leased_until = '-infinity'`)
	got := r.waitFor(made.ID, replay.Completed)
	require.ElementsMatch(t, ids, r.arrived("/in"), "one arrived live, the others by the replay")
	require.EqualValues(t, 9, got.Enqueued)
	require.EqualValues(t, 10, got.Matched)
}

func TestARepeatedMessageCountsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.insert(20)
	s, err := r.js.Stream(context.Background(), stream.Events)
	require.NoError(t, err)
	for seq := uint64(5); seq < 10; seq++ {
		m, err := s.GetMsg(context.Background(), seq)
		require.NoError(t, err)
		h := nats.Header{}
		for name, values := range m.Header {
			if !strings.HasPrefix(name, "Nats-") {
				h[name] = values
			}
		}
		h.Set(jetstream.MsgIDHeader, h.Get(stream.HeaderEvent)+":2")
		_, err = r.js.PublishMsg(context.Background(), &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data})
		require.NoError(t, err)
	}
	w := r.webhook("/in")
	r.runner(replay.Options{})
	got := r.waitFor(r.create(replay.Request{WebhookID: w, Mode: replay.All}).ID, replay.Completed)
	require.Equal(t, "jetstream", got.Source)
	require.Equal(t, [4]int64{20, 20, 20, 0}, progress(got))
	require.ElementsMatch(t, ids, r.arrived("/in"))
}

// TestABrokerThatDoesNotAnswerStopsNoReplay has a broker whose JetStream is silent, as
// one without a quorum is.
func TestABrokerThatDoesNotAnswerStopsNoReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.insert(20)
	w := r.webhook("/in")
	_, err := r.nc.Subscribe("SILENT.>", func(*nats.Msg) {})
	require.NoError(t, err)
	r.js, err = jetstream.NewWithAPIPrefix(r.nc, "SILENT")
	require.NoError(t, err)
	r.runner(replay.Options{})
	got := r.waitFor(r.create(replay.Request{WebhookID: w}).ID, replay.Completed)
	require.Equal(t, "postgres", got.Source)
	require.Equal(t, [4]int64{20, 20, 20, 0}, progress(got))
}
