package promise

import (
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

const (
	// mostRefusals and mostCommands are what a connection gets that sends no mail, with room for what is under way.
	// An ingest allows 20 refusals, and 200 commands besides.
	mostRefusals = 30
	mostCommands = 300
	// leastPace is the part of the earlier pace at which honest senders' events are accepted during an attack.
	leastPace = 1. / 3
)

// Attacked is what the history shows about one attack.
type Attacked struct {
	*history.Attack
	// Pace is the honest senders' events that were accepted in a second of the attack, and CalmPace of the time before.
	Pace, CalmPace float64
	// Accepted is the time from an honest sender's first try to acceptance that 99 in 100 did not exceed, and
	// CalmAccepted the same of the time before.
	Accepted, CalmAccepted time.Duration
}

// attacked checks that honest senders went on during each attack, and that the attackers met their limits.
func (c *check) attacked() {
	for _, a := range c.attacks {
		found := Attacked{Attack: a}
		found.Pace, found.Accepted = c.served(a.Via, a.Start, a.End)
		found.CalmPace, found.CalmAccepted = c.served(a.Via, a.Calm, a.Start)
		c.Attacks = append(c.Attacks, found)

		c.Checked[Unhindered]++
		if found.Pace <= found.CalmPace*leastPace {
			c.breach(Unhindered, a.Start, "during %s %.2f events a second were accepted by %s, and %.2f before", a.Name, found.Pace, a.Via, found.CalmPace)
		}
		for token, o := range c.offered {
			if o.Via != a.Via || o.At < a.Start || o.At > a.End {
				continue
			}
			c.Checked[Unhindered]++
			switch done := c.accepted[token]; {
			case done == nil:
				c.breach(Unhindered, o.At, "%q, offered by %s during %s, was never accepted", token, a.Via, a.Name)
			case done.Tries > 1:
				c.breach(Unhindered, o.At, "%q, offered by %s during %s, was accepted at try %d: %s", token, a.Via, a.Name, done.Tries, done.Error)
			}
		}

		c.Checked[Bounded] += a.Sent
		if a.Unanswered > 0 {
			c.breach(Bounded, a.End, "%d of %d requests of %s got neither an answer nor an end", a.Unanswered, a.Sent, a.Name)
		}
		if a.Late*2 > a.Pairs {
			c.breach(Bounded, a.End, "%d of %d refusals of %s waited for bodies that never end", a.Late, a.Pairs, a.Name)
		}
		if a.Refusals > mostRefusals || a.Commands > mostCommands {
			c.breach(Bounded, a.End, "a connection of %s got %d refusals and %d commands before it was cut off", a.Name, a.Refusals, a.Commands)
		}
		if a.Memory > a.Limit {
			c.breach(Bounded, a.End, "%s made the process take %d bytes of memory; its limit is %d", a.Name, a.Memory, a.Limit)
		}
	}
}

// served returns how many events were accepted in a second, and how long 99 in 100 of them took at most.
func (c *check) served(via string, from, to int64) (pace float64, within time.Duration) {
	var took []time.Duration
	for token, a := range c.accepted {
		if o := c.offered[token]; o != nil && a.Via == via && a.At >= from && a.At < to {
			took = append(took, time.Duration(a.At-o.At)*time.Microsecond)
		}
	}
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return float64(len(took)) / (float64(to-from) / 1e6), took[len(took)*99/100]
}
