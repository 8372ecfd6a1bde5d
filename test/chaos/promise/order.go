package promise

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// strict checks the order of each strict webhook: a POST may begin only after every earlier event has
// ended.
func (c *check) strict() {
	lines := map[string][]*history.Row{}
	for _, r := range c.rowOf {
		if h := c.hooks[r.Hook]; h != nil && h.Strict {
			lines[r.Hook] = append(lines[r.Hook], r)
		}
	}
	for id, line := range lines {
		slices.SortFunc(line, func(a, b *history.Row) int { return cmp.Compare(a.Seq, b.Seq) })
		ahead := int64(0) // when all earlier ones have ended
		for _, r := range line {
			ended := int64(math.MaxInt64)
			if r.Status == "failed" {
				ended = r.Finished
			}
			for _, p := range c.byRow[r.Delivery] {
				c.Checked[StrictOrder]++
				if p.Start < ahead {
					c.breach(StrictOrder, p.Start, "%s (sequence %d) was POSTed to %s before one ahead of it had ended", r.Delivery, r.Seq, c.hooks[id].Name)
				}
				if p.OK() {
					ended = min(ended, p.End)
				}
			}
			ahead = max(ahead, ended)
		}
	}
}

// sequence compares the outbox sequence with the order of acceptance: an event accepted before another
// was offered comes first.
func (c *check) sequence() {
	seqs := map[string]int64{}
	for _, r := range c.rowOf {
		if posts := c.byRow[r.Delivery]; len(posts) > 0 {
			seqs[posts[0].Token] = r.Seq
		}
	}
	known := func(m map[string]*history.Offer) []*history.Offer {
		out := slices.DeleteFunc(slices.Collect(maps.Values(m)), func(o *history.Offer) bool {
			return seqs[o.Token] == 0
		})
		slices.SortFunc(out, func(a, b *history.Offer) int { return cmp.Compare(a.At, b.At) })
		return out
	}
	// The broker acknowledges these before there is a commit.
	accepted := slices.DeleteFunc(known(c.accepted), func(o *history.Offer) bool { return o.WithBroker() })
	highest, of := int64(0), ""
	for _, o := range known(c.offered) {
		for len(accepted) > 0 && accepted[0].At < o.At {
			if s := seqs[accepted[0].Token]; s > highest {
				highest, of = s, accepted[0].Token
			}
			accepted = accepted[1:]
		}
		c.Checked[CommitOrder]++
		if seqs[o.Token] < highest {
			c.breach(CommitOrder, o.At, "%q has sequence %d, under %d of %q, which was accepted before it was offered", o.Token, seqs[o.Token], highest, of)
		}
	}
}

// effects sums up each kind of fault.
func (c *check) effects() {
	byName := map[string]*Effect{}
	for _, f := range c.faults {
		e := byName[f.Name]
		if e == nil {
			e = &Effect{Name: f.Name, Breaches: map[Promise]int{}}
			byName[f.Name] = e
		}
		e.Times++
		e.Seconds += us(f.End - f.Start).Seconds()
		e.Twice += c.excused[f].Twice
		e.Overlaps += c.excused[f].Overlaps
		for _, a := range c.accepted {
			if a.At >= f.Start && a.At <= f.End {
				e.Accepted++
			}
		}
		for _, p := range c.posts {
			if p.Start <= f.End && p.End >= f.Start {
				e.Posts++
			}
		}
		for _, b := range c.Breaches {
			if b.At >= f.Start && b.At <= f.End+c.run.LeaseUS {
				e.Breaches[b.Promise]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		c.Effects = append(c.Effects, *byName[name])
	}
}
