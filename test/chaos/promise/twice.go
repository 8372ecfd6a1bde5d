package promise

import (
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

const (
	second = int64(1_000_000)
	// slack is for clocks and for a busy machine.
	slack = second
	// settling is how long after a lease's end the sweep, a breaker's probe or
	// a slow machine may take to POST again.
	settling = 60 * second
	// brokerName begins the names of the broker's faults.
	brokerName = "nats."
	// forgetting is how long a commit that does not wait for the disk may stay
	// off it: three times wal_writer_delay, and slack.
	forgetting = 5 * second
	// wipeName is the loss of all that the broker has.
	wipeName = "nats.wipe"
	// termName is an orderly stop: it parks what it cuts short.
	termName = "term"
)

// takeLeases are the faults after which a lease may be gone: the database, or
// the standby in its place, comes back without the last commits that did not
// wait for the disk, or its clock has gone past the lease's end.
var takeLeases = []string{"postgres.immediate", "postgres.failover", "postgres.full", "postgres.clock"}

// explains says whether a fault can be why a delivery is POSTed twice.
func explains(f *history.Fault) bool {
	if strings.HasPrefix(f.Name, brokerName) {
		return false // a dispatcher that is cut off from the broker too
	}
	return f.Party == "postgres" || strings.HasPrefix(f.Party, "dispatcher")
}

// twice looks at every POST that came although one before was answered 2xx, or
// had the same attempt's number.
func (c *check) twice() {
	for _, posts := range c.byRow {
		for i, p := range posts {
			var before *history.Post
			for _, q := range posts[:i] {
				if q.OK() || q.Attempt == p.Attempt {
					before = q
				}
			}
			if before == nil {
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

// explanation finds the fault between two POSTs that is the likeliest reason
// for the second: the one that came first after the first POST, or lasted then.
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

// released says whether the first POST's lease can have gone before its time.
func (c *check) released(before, p *history.Post) bool {
	for _, f := range c.faults {
		between := f.Start <= p.Start && f.End >= before.Start-slack
		if between && (slices.Contains(takeLeases, f.Name) || f.Name == termName && before.Left && explains(f)) {
			return true
		}
	}
	return false
}

// caps follows each webhook's POSTs on the wire.
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

// gone is when a POST was off the wire at the latest, as its sender sees it: a
// client that left had left before the receiver noticed.
func gone(p *history.Post) int64 {
	if p.Left {
		return max(p.Start, p.End-slack)
	}
	return p.End
}

// disturbance finds a fault that took the owner away from one of the POSTs
// while it was on the wire: the next owner's may then overlap with it.
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
