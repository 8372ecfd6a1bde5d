package promise

import "time"

// The faults in which JetStream takes nothing. Nothing else is broken meanwhile.
const (
	AccountFull   = "nats.account full"
	StreamFull    = "nats.stream full"
	NoQuorum      = "nats.no quorum"
	ReadOnlyStore = "nats.read-only store"
)

const (
	// outageNoticed is how long the processes have to notice an outage: messages that are under way as it
	// begins wait for their leases.
	outageNoticed = 10 * time.Second
	// outageArrives is how long an event then takes at most to its first POST.
	outageArrives = 10 * time.Second
)

// outages checks that events that are accepted during an outage are POSTed while it lasts. Events that
// the broker acknowledges need JetStream, and strict webhooks wait for their earlier events.
func (c *check) outages() {
	posted := map[pair]int64{}
	for _, p := range c.posts {
		at := pair{p.Token, p.Hook}
		if posted[at] == 0 || p.Start < posted[at] {
			posted[at] = p.Start
		}
	}
	for _, f := range c.faults {
		switch f.Name {
		case AccountFull, StreamFull, NoQuorum, ReadOnlyStore:
		default:
			continue
		}
		for token, a := range c.accepted {
			if a.WithBroker() || a.At < f.Start+outageNoticed.Microseconds() || a.At+outageArrives.Microseconds() > f.End {
				continue
			}
			for _, id := range c.hookIDs {
				h, offered := c.hooks[id], c.offered[token]
				if offered == nil || h.Strict || !c.mustReceive(h, offered) {
					continue
				}
				c.Checked[GoesOn]++
				if first := posted[pair{token, id}]; first == 0 || first > a.At+outageArrives.Microseconds() {
					c.breach(GoesOn, a.At, "%q, accepted during %s, was not POSTed to %s within %s", token, f.Name, h.Name, outageArrives)
				}
			}
		}
	}
}
