package promise

import (
	"math"
	"slices"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// obedience is how long a change may take to reach every dispatcher: they look
// once a second, an attempt that was begun before may just have got through,
// and an owner that is cut off from the database starts attempts for another
// 6 s.
const obedience = 15 * second

// deletedErrors are what a row says that ended with its webhook: ended by the
// deletion, or by the dispatcher that met it later.
var deletedErrors = []string{"webhook deleted", "the webhook was deleted"}

// state is what a webhook was for a time. It was in force at the latest from
// surely, and at the earliest from perhaps.
type state struct {
	perhaps, surely int64
	on, gone        bool
	agents          []string
}

func (c *check) change(h *history.Change) {
	c.states[h.Hook] = append(c.states[h.Hook], state{perhaps: h.Asked, surely: h.Done, on: h.On, gone: h.Gone, agents: h.Agents})
}

// during gives the states of a webhook that may have been in force from one
// moment to another.
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

// may says whether a webhook may have an event: whether it wanted it at some
// time since it was offered.
func (c *check) may(h *history.Hook, o *history.Offer) bool {
	return h.Tenant == o.Tenant && slices.ContainsFunc(c.during(h.ID, o.At, math.MaxInt64), func(s state) bool { return s.wants(o) })
}

// must says whether it has to have it: whether it wanted it from before it was
// offered until it was fanned out.
func (c *check) must(h *history.Hook, o *history.Offer) bool {
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

// off looks for POSTs to webhooks that had been off for long enough.
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

// held says whether a dispatcher was held up at that time by what may let it
// go on later with what it had begun.
func (c *check) held(from, to int64) bool {
	return slices.ContainsFunc(c.faults, func(f *history.Fault) bool { return explains(f) && f.Start <= to && f.End >= from })
}
