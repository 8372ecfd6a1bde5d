package promise

import (
	"math"
	"slices"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// obedience is how long a change may take to reach every dispatcher. They look once a second, a
// running attempt may finish, and an owner that is cut off from the database starts attempts for 6 s
// more.
const obedience = 15 * second

// deletedErrors are the errors of rows that ended with their webhook: at its deletion, or when the
// dispatcher met them later.
var deletedErrors = []string{"webhook deleted", "the webhook was deleted"}

// state is a webhook's settings for a time. They were in force from surely at the latest, and from
// perhaps at the earliest.
type state struct {
	perhaps, surely int64
	on, gone        bool
	agents          []string
}

func (c *check) change(h *history.Change) {
	c.states[h.Hook] = append(c.states[h.Hook], state{perhaps: h.Asked, surely: h.Done, on: h.On, gone: h.Gone, agents: h.Agents})
}

// during returns the states that may have been in force between two moments.
func (c *check) during(hook string, from, to int64) []state {
	all := c.states[hook]
	var out []state
	for i, s := range all {
		ended := int64(math.MaxInt64)
		if i+1 < len(all) {
			ended = all[i+1].surely
		}
		if s.perhaps <= to && ended >= from {
			out = append(out, s)
		}
	}
	return out
}

func (s *state) wants(o *history.Offer) bool {
	return s.on && !s.gone && (len(s.agents) == 0 || slices.Contains(s.agents, o.Agent))
}

// mayReceive reports whether a webhook may get an event: its filter matched at some time since the
// offer.
func (c *check) mayReceive(h *history.Hook, o *history.Offer) bool {
	return h.Tenant == o.Tenant && slices.ContainsFunc(c.during(h.ID, o.At, math.MaxInt64), func(s state) bool { return s.wants(o) })
}

// mustReceive reports whether a webhook must get an event: its filter matched from before the offer
// until the fan-out.
func (c *check) mustReceive(h *history.Hook, o *history.Offer) bool {
	states := c.during(h.ID, o.At, c.fannedOut(o.Token))
	return h.Tenant == o.Tenant && len(states) > 0 && !slices.ContainsFunc(states, func(s state) bool { return !s.wants(o) })
}

// fannedOut is when an event had been matched with the webhooks at the latest.
func (c *check) fannedOut(token string) int64 {
	if at := c.firstPost[token]; at > 0 {
		return at
	}
	return c.end.At
}

func (c *check) gone(hook string) bool {
	all := c.states[hook]
	return len(all) > 0 && all[len(all)-1].gone
}

// off finds POSTs to webhooks that had been disabled for long enough.
func (c *check) off() {
	for _, p := range c.posts {
		if len(c.states[p.Hook]) < 2 {
			continue
		}
		c.Checked[OffIsOff]++
		states := c.during(p.Hook, p.Start-obedience, p.Start)
		if !slices.ContainsFunc(states, func(s state) bool { return s.on && !s.gone }) && !c.held(p.Start-obedience, p.Start) {
			c.breach(OffIsOff, p.Start, "%s was POSTed to %s, which had been off for %s", p.Delivery, c.hooks[p.Hook].Name, us(p.Start-states[0].surely))
		}
	}
}

// held reports whether a fault held up a dispatcher at that time, so that it may have continued later.
func (c *check) held(from, to int64) bool {
	return slices.ContainsFunc(c.faults, func(f *history.Fault) bool { return explains(f) && f.Start <= to && f.End >= from })
}
