package agentwebhook

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// starting takes all slots that are free now, as if every agent had many due
// deliveries.
func starting(s *slots, now time.Time) map[string][]*slot {
	got := map[string][]*slot{}
	for _, w := range s.take(1000, now) {
		got[w.agent] = w.slots
		s.settle(w, len(w.slots))
	}
	return got
}

func TestAnAgentsLimitGrowsWithItsFirstFastAnswer(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newSlots(8, 8)
	s.push("a")
	one := starting(s, now)["a"]
	s.push("a") // another hint, while the agent is at its limit
	require.Empty(t, starting(s, now))
	s.end(one[0], true)
	four := starting(s, now)["a"]
	require.Len(t, four, perAgent, "its last claim was full, so it is queued again, and it is proven")
	s.push("a")
	require.Empty(t, starting(s, now), "at its limit")
	s.slowDown(four[0], now)
	for _, of := range four {
		s.end(of, false)
	}
	require.Len(t, starting(s, now)["a"], perUnproven, "slow")
}

func TestAnAgentWithoutDueDeliveriesIsForgotten(t *testing.T) {
	t.Parallel()
	s := newSlots(8, 8)
	s.push("a")
	w := s.take(1, time.Now())[0]
	s.settle(w, 1)
	s.end(w.slots[0], true)
	require.Len(t, s.queue, 1, "its claim filled all slots, so more may be due")
	w = s.take(1, time.Now())[0]
	require.Len(t, w.slots, perAgent)
	s.settle(w, 0)
	require.Empty(t, s.agents)
}

func TestSlowAttemptsReleaseTheirFastSlots(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newSlots(2, 3)
	var held []*slot
	for i := range 5 {
		s.push(fmt.Sprintf("hangs-%d", i))
	}
	for range 4 {
		for _, list := range starting(s, now) {
			held = append(held, list...)
			for _, of := range list {
				s.slowDown(of, now)
			}
		}
	}
	fast, slow := s.count()
	require.Equal(t, 3, slow, "the slow pool is full")
	require.Equal(t, 2, fast, "the others wait for a slow slot")
	s.push("healthy")
	require.Empty(t, starting(s, now))
	s.end(held[0], false)
	require.Len(t, starting(s, now)["healthy"], 1, "the fast slot of the attempt that moved")
	s.end(held[1], false)
	require.Empty(t, starting(s, now), "slow agents draw from the slow pool alone")
	s.end(held[2], false)
	require.Len(t, starting(s, now), 1, "one slow slot is free")
	for _, of := range held[3:] {
		s.end(of, false)
	}
	fast, slow = s.count()
	require.Equal(t, 1, fast)
	require.Equal(t, 1, slow)
}

func TestAnIdleSlowAgentIsForgottenAfterItsTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newSlots(1, 1)
	s.push("a")
	of := starting(s, now)["a"][0]
	s.slowDown(of, now)
	s.end(of, false)
	s.forget(now.Add(slowFor - time.Second))
	require.Len(t, s.agents, 1)
	s.forget(now.Add(slowFor))
	require.Empty(t, s.agents)
}

func TestUnusedSlotsAreReleased(t *testing.T) {
	t.Parallel()
	s := newSlots(4, 4)
	s.push("a", "b")
	for _, w := range s.take(10, time.Now()) {
		s.settle(w, 0)
	}
	fast, slow := s.count()
	require.Zero(t, fast+slow)
	require.Empty(t, s.agents)
	require.Empty(t, s.queue)
}

func TestTheQueueOfAgentsIsBounded(t *testing.T) {
	t.Parallel()
	s := newSlots(1, 1)
	for i := range maxQueued + 10 {
		s.push(fmt.Sprint(i))
	}
	require.Len(t, s.queue, maxQueued)
	require.False(t, s.room())
}
