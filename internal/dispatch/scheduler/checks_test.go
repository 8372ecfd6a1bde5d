package scheduler

import (
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

// started compares a start with the books.
func (w *world) started(d *Delivery) {
	r := d.Payload.(*row)
	h := r.hook
	s, held := w.held[d]
	require.True(w.t, held && s == stageQueued, "only what is queued is started")
	limit := h.w.MaxInFlight
	if h.w.Strict || h.open {
		limit = 1
	}
	require.Less(w.t, w.flying(h), limit, "the webhook's limit of attempts in flight")
	require.True(w.t, w.owned[events.Partition(h.w.ID)], "the partition is owned")
	require.True(w.t, w.now.Time.Before(w.leaseUntil), "under the lease of the partitions")
	require.False(w.t, w.blocked, "outcomes can be written")
	require.False(w.t, w.stopped)
	require.Equal(w.t, Active, h.w.Status)
	require.False(w.t, r.gone)
	require.GreaterOrEqual(w.t, d.Lease-w.now.Latest, w.s.o.LeaseLeft.Microseconds(), "under a lease that outlives the attempt")
	require.False(w.t, w.now.Time.Before(h.restUntil), "the lane rests")
	w.startedInTurn(d, r)
	w.startedInRate(h)
	w.startedInShare(d, h)
	h.usedAt = w.now.Time
	w.held[d] = stageInFlight
	w.inFlight[d] = &flightModel{started: w.now.Time, slow: d.phase == phaseSlow, probe: h.open}
}

// startedInTurn checks the order within the lane.
func (w *world) startedInTurn(d *Delivery, r *row) {
	h := r.hook
	if h.w.Strict && !w.unordered {
		for _, o := range w.rows {
			require.False(w.t, o.hook == h && !o.final && o.seq < r.seq, "strict order: %d before %d", r.seq, o.seq)
		}
	}
	if d.Attempts > 0 || d.IsReplay {
		h.passedOver = 0
		return
	}
	waits := false
	for o, s := range w.held {
		waits = waits || s == stageQueued && o.WebhookID == d.WebhookID && (o.Attempts > 0 || o.IsReplay)
	}
	if h.passedOver++; !waits {
		h.passedOver = 0
	}
	require.Less(w.t, h.passedOver, retryTurn, "every fourth start is a retry's")
}

// startedInRate checks the rate limit over every span that ends now.
func (w *world) startedInRate(h *hookModel) {
	if h.w.RateLimit == 0 {
		return
	}
	h.starts = append(h.starts, w.now.Time)
	burst := float64(max(1, h.w.RateLimit/10))
	for i, at := range h.starts {
		most := burst + w.now.Time.Sub(at).Seconds()*float64(h.w.RateLimit)
		require.LessOrEqual(w.t, float64(len(h.starts)-i), most+0.001, "the rate limit")
	}
}

// startedInShare checks the slots: no tenant takes the last ones.
func (w *world) startedInShare(d *Delivery, h *hookModel) {
	slow := d.phase == phaseSlow
	slots, mine := w.s.o.FastSlots, 0
	if slow {
		slots = w.s.o.SlowSlots
	}
	for o, f := range w.inFlight {
		if f.slow == slow {
			slots--
			if o.Payload.(*row).hook.w.TenantID == h.w.TenantID {
				mine++
			}
		}
	}
	require.Less(w.t, mine, slots, "a tenant gets a slot only while it holds fewer than are free")
}

// check compares the books with the scheduler's.
func (w *world) check() {
	w.forgotten()
	fast, slow, byHook := 0, 0, map[*hookModel]int{}
	for d, f := range w.inFlight {
		require.Equal(w.t, f.slow, d.phase == phaseSlow)
		if byHook[d.Payload.(*row).hook]++; f.slow {
			slow++
		} else {
			fast++
		}
	}
	require.Equal(w.t, w.s.o.FastSlots-fast, w.s.fast.free)
	require.Equal(w.t, w.s.o.SlowSlots-slow, w.s.slow.free)
	require.GreaterOrEqual(w.t, w.s.fast.free, 0, "no more attempts than fast slots")
	require.Len(w.t, w.s.held, len(w.held), "what was queued is held until it is recorded")
	queued := 0
	for d, s := range w.held {
		require.Same(w.t, d, w.s.held[d.ID])
		if s == stageQueued {
			queued++
		}
	}
	require.Equal(w.t, queued, w.s.queued)
	require.Equal(w.t, len(w.inFlight), w.s.flying)
	require.Equal(w.t, w.bytes(), w.s.budget.bytes, "the memory of what is held")
	for _, l := range w.s.lanes {
		require.GreaterOrEqual(w.t, l.window.size, 1.0, "a window lets one attempt through")
		require.LessOrEqual(w.t, l.window.size, float64(max(firstWindow, l.webhook.MaxInFlight)), "and no more than the limit")
		if l.tenure == tenureOwned && l.webhook.Status == Active && l.queued() > 0 && l.inFlight < l.cap() && !w.stopped {
			rests := w.now.Time.Before(l.restUntil) && l.timer >= 0 && !l.timerAt.After(l.restUntil)
			require.True(w.t, l.turn == turnWaiting || rests, "what can go has its turn, or a time at which it gets it")
		}
	}
	for h, n := range byHook {
		require.Equal(w.t, n, w.s.lanes[h.w.ID].inFlight)
	}
}
