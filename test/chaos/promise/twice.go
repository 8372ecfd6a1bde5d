package promise

import (
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

const (
	second = int64(1_000_000)
	// slack allows for clocks and a busy machine.
	slack = second
	// settling is how long after a lease's end the fetch, a breaker's probe or a slow machine may take
	// to POST again.
	settling = 60 * second
	// brokerName is the prefix of the broker's faults.
	brokerName = "nats."
	// forgetting is how long a commit with synchronous_commit off may stay off the disk: three times
	// wal_writer_delay, and slack.
	forgetting = 5 * second
	// wipeName is the loss of all of the broker's data.
	wipeName = "nats.wipe"
	// termName is an orderly stop, which releases the deliveries that it interrupts.
	termName = "term"
)

// takeLeases are the faults after which a lease may be lost. The database or its standby comes back
// without the last commits that were not on disk, or its clock has passed the lease's end.
var takeLeases = []string{"postgres.immediate", "postgres.failover", "postgres.full", "postgres.clock"}

// explains reports whether a fault can be the reason for a second POST.
func explains(f *history.Fault) bool {
	if strings.HasPrefix(f.Name, brokerName) {
		return false // a dispatcher that is cut off from the broker too
	}
	return f.Party == "postgres" || strings.HasPrefix(f.Party, "dispatcher")
}

// twice checks every POST that came after a 2xx answer, or with the attempt number of another.
func (c *check) twice() {
	for _, posts := range c.byRow {
		for i, p := range posts {
			var before *history.Post
			for _, q := range posts[:i] {
				if q.OK() || q.Attempt == p.Attempt {
					before = q
				}
			}
			if before == nil || repeated(posts[:i], p) {
				continue
			}
			c.Twice++
			c.Checked[TwiceExplain]++
			if f := c.explanation(before, p); f != nil {
				c.excused[f].Twice++
			} else {
				c.breach(TwiceExplain, p.Start, "%s, attempt %d, came %s after attempt %d (%d), and no fault explains it",
					p.Delivery, p.Attempt, us(p.Start-before.Start), before.Attempt, before.Status)
			}
			c.Checked[LeaseHolds]++
			if gap := p.Start - before.Start; gap < c.run.GuardUS-slack && !c.released(before, p) {
				c.breach(LeaseHolds, p.Start, "%s was POSTed again after %s, under a lease that cannot have run out", p.Delivery, us(gap))
			}
		}
	}
}

// repeated reports whether a POST repeats the one before within an attempt: the receiver closed a connection without an
// answer, and a request is sent again once. POSTs of the same attempt under earlier leases do not count, whatever their
// end: the first POST of a lease is judged by itself.
func repeated(earlier []*history.Post, p *history.Post) bool {
	for i, q := range slices.Backward(earlier) {
		if q.Attempt == p.Attempt {
			return q.Status == 0 && !q.Left && !repeated(earlier[:i], q)
		}
	}
	return false
}

// explanation finds the likeliest fault behind a second POST: the first one that lasted during or
// began after the first POST.
func (c *check) explanation(before, p *history.Post) *history.Fault {
	var best *history.Fault
	after := func(f *history.Fault) int64 { return max(f.Start-before.End, 0) }
	for _, f := range c.faults {
		if !explains(f) || f.Start > p.Start || f.End < before.Start-slack || p.Start-f.End > c.run.LeaseUS+settling {
			continue
		}
		if best == nil || after(f) < after(best) || after(f) == after(best) && f.Start > best.Start {
			best = f
		}
	}
	return best
}

// released reports whether the first POST's lease can have been lost before its end.
func (c *check) released(before, p *history.Post) bool {
	for _, f := range c.faults {
		between := f.Start <= p.Start && f.End >= before.Start-slack
		if between && (slices.Contains(takeLeases, f.Name) || f.Name == termName && before.Left && explains(f)) {
			return true
		}
	}
	return false
}

// caps counts each webhook's POSTs in flight.
func (c *check) caps() {
	of := map[string][]*history.Post{}
	for _, p := range c.posts {
		of[p.Hook] = append(of[p.Hook], p)
	}
	for id, posts := range of {
		h := c.hooks[id]
		if h == nil {
			continue
		}
		limit := h.Cap
		if h.Strict {
			limit = 1
		}
		var open []*history.Post
		for _, p := range posts {
			open = slices.DeleteFunc(open, func(q *history.Post) bool { return gone(q) <= p.Start })
			open = append(open, p)
			c.Checked[CapsHold]++
			if len(open) <= limit {
				continue
			}
			f := c.disturbance(open)
			if f == nil || len(open) > 2*limit {
				c.breach(CapsHold, p.Start, "%s had %d POSTs at once; its cap is %d", h.Name, len(open), limit)
				continue
			}
			c.Overlaps++
			c.excused[f].Overlaps++
		}
	}
}

// gone is when a POST was over at the latest for its sender. A client disconnects before the receiver
// notices.
func gone(p *history.Post) int64 {
	if p.Left {
		return max(p.Start, p.End-slack)
	}
	return p.End
}

// disturbance finds a fault that took the partition from its owner during one of the POSTs. POSTs of
// the next owner may then overlap with it.
func (c *check) disturbance(open []*history.Post) *history.Fault {
	for _, f := range c.faults {
		for _, p := range open {
			if explains(f) && f.Start <= p.End && f.End >= p.Start {
				return f
			}
		}
	}
	return nil
}
