package promise_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
	"github.com/fanmail-dev/fanmail/test/chaos/promise"
)

func TestHistoryInWhichAllWasKept(t *testing.T) {
	t.Parallel()
	v, err := promise.Check(tale().records)
	require.NoError(t, err)
	require.Empty(t, v.Breaches)
	require.True(t, v.Kept())
	for _, p := range promise.Promises {
		require.Positive(t, v.Checked[p], "%s was never put to the proof", p)
	}
	require.Equal(t, 6, v.Wanted)
	require.Equal(t, 6, v.Delivered)
	require.Equal(t, 1, v.Twice)
	require.Len(t, v.Latencies, 6)
	require.Equal(t, 2*time.Second-240*time.Microsecond, v.Latencies[5], "the one that was refused at first")
	require.Equal(t, 1, v.Effects[0].Twice, "the POST too many is traced to the kill")
}

func TestDoctoredHistoriesAreRejectedForTheRightPromise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		doctor func(*story)
		want   promise.Promise
	}{
		"an honest sender that was refused during an attack": {func(s *story) {
			s.accepted("t2").Tries, s.accepted("t2").Error = 2, "421"
		}, promise.Unhindered},
		"honest senders that slowed down during an attack": {func(s *story) {
			s.attack().End = 40 * second
		}, promise.Unhindered},
		"an attacker without an answer": {func(s *story) {
			s.attack().Unanswered = 1
		}, promise.Bounded},
		"refusals that wait for bodies": {func(s *story) {
			s.attack().Late = 3
		}, promise.Bounded},
		"an attacker that is not cut off": {func(s *story) {
			s.attack().Refusals = 100
		}, promise.Bounded},
		"an attacker that gives commands for ever": {func(s *story) {
			s.attack().Commands = 1000
		}, promise.Bounded},
		"an attack that takes the memory": {func(s *story) {
			s.attack().Memory = 21
		}, promise.Bounded},
		"a delivery that never came": {func(s *story) {
			s.drop(func(r history.Record) bool {
				return r.Post != nil && r.Post.Delivery == delivery("wh_cap", 1) || r.Row != nil && r.Row.Delivery == delivery("wh_cap", 1)
			})
		}, promise.NothingLost},
		"an answer that was never 2xx": {func(s *story) {
			s.posts(delivery("wh_cap", 1))[0].Status = 500
			s.last(delivery("wh_cap", 1)).Status, s.last(delivery("wh_cap", 1)).Due = "pending", 200*second
		}, promise.NothingLost},
		"a 2xx to a client that had left": {func(s *story) {
			s.posts(delivery("wh_cap", 2))[0].Left = true
		}, promise.NothingLost},
		"one key, two events": {func(s *story) {
			s.posts(delivery("wh_cap", 1))[0].Event = "evt_9"
		}, promise.OneEvent},
		"an event that nobody sent": {func(s *story) {
			s.post("wh_cap", 7, 1, 50*second, 51*second, 200)
		}, promise.OneEvent},
		"a row that is due and forgotten": {func(s *story) {
			r := s.last(delivery("wh_cap", 1))
			r.Status, r.Finished, r.Due = "pending", 0, 60*second
		}, promise.AllEnd},
		"an event left in the outbox": {func(s *story) {
			s.records[len(s.records)-1].End.Outbox = 1
		}, promise.AllEnd},
		"a row that is delivered without an answer": {func(s *story) {
			s.posts(delivery("wh_cap", 1))[0].Status = 503
		}, promise.RowsTrue},
		"a row that failed although it was answered": {func(s *story) {
			r := s.last(delivery("wh_cap", 1))
			r.Status, r.Attempts = "failed", 8
		}, promise.RowsTrue},
		"a row that gave up early": {func(s *story) {
			s.posts(delivery("wh_cap", 1))[0].Status = 500
			s.last(delivery("wh_cap", 1)).Status = "failed"
		}, promise.RowsTrue},
		"a POST without a row": {func(s *story) {
			s.drop(func(r history.Record) bool { return r.Row != nil && r.Row.Delivery == delivery("wh_cap", 1) })
		}, promise.RowsTrue},
		"two rows for one event and webhook": {func(s *story) {
			r := *s.last(delivery("wh_cap", 1))
			r.Delivery = "whd_second"
			s.add(history.Record{Kind: history.KindRow, Row: &r})
		}, promise.RowsTrue},
		"a final row that was written again": {func(s *story) {
			s.last(delivery("wh_cap", 1)).Attempts = 2
		}, promise.FinalStays},
		"a final row that became pending": {func(s *story) {
			r := s.last(delivery("wh_cap", 1))
			r.Status, r.Finished, r.Due = "pending", 0, 200*second
		}, promise.FinalStays},
		"a POST too many without a fault": {func(s *story) {
			s.drop(func(r history.Record) bool { return r.Kind == history.KindFault })
		}, promise.TwiceExplain},
		"a POST too many, and the fault came later": {func(s *story) {
			s.fault().Start, s.fault().End = 21*second, 22*second
		}, promise.TwiceExplain},
		"a POST too many long after the fault": {func(s *story) {
			s.posts(delivery("wh_other", 3))[1].Start = 95 * second
			s.posts(delivery("wh_other", 3))[1].End = 96 * second
		}, promise.TwiceExplain},
		"a POST too many, and a fault of the broker": {func(s *story) {
			s.fault().Party = "nats"
		}, promise.TwiceExplain},
		"a POST too many, and a dispatcher cut off from the broker": {func(s *story) {
			s.fault().Name = "nats.partition"
		}, promise.TwiceExplain},
		"a success that was sent again": {func(s *story) {
			s.post("wh_cap", 1, 2, 95*second, 96*second, 200)
		}, promise.TwiceExplain},
		"a POST under a lease that somebody else had": {func(s *story) {
			s.posts(delivery("wh_other", 3))[1].Start = 10 * second
		}, promise.LeaseHolds},
		"three at once under a cap of two": {func(s *story) {
			s.drop(func(r history.Record) bool { return r.Kind == history.KindFault })
			again := *s.posts(delivery("wh_cap", 1))[0]
			again.Attempt = 2
			s.add(history.Record{Kind: history.KindPost, Post: &again})
		}, promise.CapsHold},
		"more than two owners' worth at once": {func(s *story) {
			for n := range 3 {
				again := *s.posts(delivery("wh_cap", 1))[0]
				again.Attempt = 2 + n
				s.add(history.Record{Kind: history.KindPost, Post: &again})
			}
		}, promise.CapsHold},
		"the second before the first": {func(s *story) {
			s.posts(delivery("wh_strict", 2))[0].Start = 1500
		}, promise.StrictOrder},
		"the second while the first has failed": {func(s *story) {
			s.posts(delivery("wh_strict", 1))[0].Status = 500
			s.post("wh_strict", 1, 2, 3*second, 3*second+10, 200)
		}, promise.StrictOrder},
		"a sequence against the commits": {func(s *story) {
			for _, hook := range []string{"wh_strict", "wh_cap"} {
				s.last(delivery(hook, 1)).Seq = 9
			}
		}, promise.CommitOrder},
		"a signature that does not verify": {func(s *story) {
			s.posts(delivery("wh_cap", 1))[0].Signed = false
		}, promise.Signed},
		"another tenant's event": {func(s *story) {
			s.hook("wh_cap").Tenant = "b"
		}, promise.TenantsApart},
		"an event against the filter": {func(s *story) {
			s.hook("wh_cap").Agents = []string{"x"}
		}, promise.TenantsApart},
		"other bytes the second time": {func(s *story) {
			s.posts(delivery("wh_other", 3))[1].Body = "tampered"
		}, promise.SameBytes},
		"another delivery id the second time": {func(s *story) {
			s.posts(delivery("wh_other", 3))[1].Delivery = "whd_second"
		}, promise.SameBytes},
		"an event that a webhook wanted all the while": {func(s *story) {
			s.drop(func(r history.Record) bool {
				return r.Post != nil && r.Post.Hook == "wh_change" || r.Row != nil && r.Row.Hook == "wh_change"
			})
			s.changes("wh_change")[1].Gone = false
		}, promise.NothingLost},
		"a POST to a webhook that is off": {func(s *story) {
			s.changes("wh_change")[1].Gone, s.changes("wh_change")[1].Asked, s.changes("wh_change")[1].Done = false, 5000, 6000
			s.posts(delivery("wh_change", 3))[0].Start, s.posts(delivery("wh_change", 3))[0].End = 50*second, 51*second
		}, promise.OffIsOff},
		"a POST to a webhook that is gone": {func(s *story) {
			s.posts(delivery("wh_change", 3))[0].Start, s.posts(delivery("wh_change", 3))[0].End = 90*second, 91*second
		}, promise.OffIsOff},
		"an event that a changed webhook never wanted": {func(s *story) {
			s.changes("wh_change")[0].Agents = []string{"q"}
		}, promise.TenantsApart},
		"an event of before a webhook that came on later did not want it": {func(s *story) {
			s.changes("wh_change")[0].Asked, s.changes("wh_change")[0].Done = 58*second, 59*second
			s.changes("wh_change")[0].On = false
		}, promise.TenantsApart},
		"a row that ended with a webhook that lives": {func(s *story) {
			s.last(delivery("wh_cap", 1)).Status, s.last(delivery("wh_cap", 1)).Error = "failed", "webhook deleted"
		}, promise.RowsTrue},
		"a delivery that waited for the broker": {func(s *story) {
			s.posts(delivery("wh_cap", 1))[0].Start, s.posts(delivery("wh_cap", 1))[0].End = 12*second, 13*second
		}, promise.GoesOn},
		"a delivery that waited for the broker and never came": {func(s *story) {
			s.drop(func(r history.Record) bool {
				return r.Post != nil && r.Post.Delivery == delivery("wh_cap", 1) || r.Row != nil && r.Row.Delivery == delivery("wh_cap", 1)
			})
		}, promise.GoesOn},
		"a redirect that was followed": {func(s *story) {
			s.posts(delivery("wh_other", 3))[1].Hook = ""
		}, promise.NoRedirection},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tale()
			c.doctor(s)
			v, err := promise.Check(s.records)
			require.NoError(t, err)
			require.False(t, v.Kept())
			require.Positive(t, v.Broken(c.want), "%s; it found %v", c.want, v.Breaches)
		})
	}
}

func TestDeliveriesOfAWebhookThatIsDeletedMayEndWithIt(t *testing.T) {
	t.Parallel()
	s := tale()
	s.posts(delivery("wh_change", 3))[0].Status = 500
	for _, r := range s.records {
		if r.Row != nil && r.Row.Hook == "wh_change" {
			r.Row.Status, r.Row.Error, r.Row.Finished = "failed", "webhook deleted", 61*second
		}
	}
	v, err := promise.Check(s.records)
	require.NoError(t, err)
	require.Empty(t, v.Breaches)
	require.Equal(t, 1, v.Deleted)
}

func TestDeliveryMayWaitForAnAttemptThatComesAfterTheRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		doctor func(r *history.Row, p *history.Post)
		broken promise.Promise
	}{
		"in time":              {func(*history.Row, *history.Post) {}, ""},
		"too late":             {func(r *history.Row, _ *history.Post) { r.Due = 5000 * second }, promise.AllEnd},
		"overdue":              {func(r *history.Row, _ *history.Post) { r.Due = 50 * second }, promise.AllEnd},
		"answered":             {func(_ *history.Row, p *history.Post) { p.Status = 200 }, promise.AllEnd},
		"counted but not made": {func(r *history.Row, _ *history.Post) { r.Attempts = 2 }, promise.NothingLost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tale()
			s.records[0].Run.RetriesUS = map[int]int64{1: 900 * second, 2: 3600 * second}
			p := s.posts(delivery("wh_cap", 1))[0]
			p.Status = 500
			s.drop(func(r history.Record) bool { return r.Kind == history.KindSeen && r.Row.Delivery == p.Delivery })
			r := s.last(p.Delivery)
			r.Status, r.Finished, r.Due = "pending", 0, 800*second
			c.doctor(r, p)
			v, err := promise.Check(s.records)
			require.NoError(t, err)
			if c.broken == "" {
				require.Empty(t, v.Breaches)
				require.Equal(t, 1, v.Waiting)
				return
			}
			require.Positive(t, v.Broken(c.broken), "%s; it found %v", c.broken, v.Breaches)
		})
	}
}

func TestWhatTheBrokerLostBeforeItWasTakenInIsNobodysPromise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		via, fault string
		start      int64
		kept       bool
	}{
		"wiped":            {history.ViaIntake, "nats.wipe", 9 * second, true},
		"wiped before":     {history.ViaIntake, "nats.wipe", 100, false},
		"not wiped":        {history.ViaIntake, "nats.node", 9 * second, false},
		"an edge's, wiped": {history.ViaEdge, "nats.wipe", 9 * second, true},
		"an edge's, kept":  {history.ViaEdge, "nats.node", 9 * second, false},
		"another's answer": {"api", "nats.wipe", 9 * second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tale()
			o := &history.Offer{At: 8 * second, Via: c.via, Token: "t4", Tenant: "a", Agent: "x"}
			s.add(history.Record{Kind: history.KindOffered, Offer: o})
			s.add(history.Record{Kind: history.KindAccepted, Offer: o})
			s.add(history.Record{Kind: history.KindFault, Fault: &history.Fault{Name: c.fault, Party: "nats", Start: c.start, End: c.start + 100}})
			v, err := promise.Check(s.records)
			require.NoError(t, err)
			require.Equal(t, c.kept, v.Kept(), v.Breaches)
			require.Equal(t, c.kept, v.WithBroker == 2)
			require.Equal(t, !c.kept, v.Broken(promise.NothingLost) == 2)
		})
	}
}

func TestPostWithoutARowNeedsACrashAndAChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hook  string
		event int
		fault string
		kept  bool
	}{
		"crashed and changed":  {"wh_change", 3, "postgres.failover", true},
		"changed, not crashed": {"wh_change", 3, "kill", false},
		"crashed, not changed": {"wh_cap", 1, "postgres.failover", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tale()
			s.fault().Name = c.fault
			id := delivery(c.hook, c.event)
			s.drop(func(r history.Record) bool { return r.Row != nil && r.Row.Delivery == id })
			v, err := promise.Check(s.records)
			require.NoError(t, err)
			require.Equal(t, !c.kept, v.Broken(promise.RowsTrue) > 0, v.Breaches)
		})
	}
}

func TestWebhookThatCameOnAroundAnEventMayHaveItOrNot(t *testing.T) {
	t.Parallel()
	for _, had := range []bool{true, false} {
		s := tale()
		s.changes("wh_change")[0].Asked, s.changes("wh_change")[0].Done = 320, 400
		if !had {
			s.drop(func(r history.Record) bool {
				return r.Post != nil && r.Post.Hook == "wh_change" || r.Row != nil && r.Row.Hook == "wh_change"
			})
		}
		v, err := promise.Check(s.records)
		require.NoError(t, err)
		require.Empty(t, v.Breaches)
		require.Equal(t, 5, v.Wanted)
		require.Equal(t, had, v.Either == 1)
	}
}

func TestCrashOfTheDatabaseTakesLeasesAlong(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"postgres.immediate", "postgres.failover", "postgres.full", "postgres.clock"} {
		s := tale()
		s.fault().Name, s.fault().Party = name, "postgres"
		s.posts(delivery("wh_other", 3))[1].Start = 3 * second
		v, err := promise.Check(s.records)
		require.NoError(t, err)
		require.Empty(t, v.Breaches, name)
	}
}

func TestOverlapOfTwoOwnersIsCounted(t *testing.T) {
	t.Parallel()
	s := tale()
	third := *s.posts(delivery("wh_cap", 1))[0]
	third.Attempt, third.Start, third.End, third.Status = 2, 8000, 8500, 500
	s.posts(delivery("wh_cap", 1))[0].Status, s.posts(delivery("wh_cap", 1))[0].Left = 0, true
	s.posts(delivery("wh_cap", 1))[0].End = 2 * second
	s.add(history.Record{Kind: history.KindPost, Post: &third})
	s.post("wh_cap", 1, 3, 70*second, 71*second, 200)
	v, err := promise.Check(s.records)
	require.NoError(t, err)
	require.Empty(t, v.Breaches)
	require.Equal(t, 1, v.Overlaps)
}

func TestHistoryThatIsCutOffProvesNothing(t *testing.T) {
	t.Parallel()
	s := tale()
	_, err := promise.Check(s.records[:len(s.records)-1])
	require.ErrorContains(t, err, "cut off")
	_, err = promise.Check(append(s.records, history.Record{Kind: "rumour"}))
	require.ErrorContains(t, err, "rumour")
}
