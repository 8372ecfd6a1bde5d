package promise

import (
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

type pair struct{ token, hook string }

// events checks every POST by itself: whether the webhook exists and may receive the event.
func (c *check) events() {
	eventOf, tokenOf := map[string]string{}, map[string]string{}
	for token, a := range c.accepted {
		if a.Event != "" {
			eventOf[token], tokenOf[a.Event] = a.Event, token
		}
	}
	for _, p := range c.posts {
		h := c.hooks[p.Hook]
		if h == nil {
			c.breach(NoRedirection, p.Start, "a POST of %s arrived at a URL of no webhook", p.Delivery)
			continue
		}
		c.Checked[Signed]++
		if !p.Signed {
			c.breach(Signed, p.Start, "%s, attempt %d, to %s doesn't verify", p.Delivery, p.Attempt, h.Name)
		}
		c.Checked[NoRedirection]++
		o := c.offered[p.Token]
		c.Checked[OneEvent]++
		if o == nil {
			c.breach(OneEvent, p.Start, "%s carries %q, which nobody sent", p.Event, p.Token)
			continue
		}
		event, known := eventOf[p.Token]
		token, taken := tokenOf[p.Event]
		switch {
		case known && event != p.Event:
			c.breach(OneEvent, p.Start, "%q is event %s and event %s", p.Token, event, p.Event)
		case taken && token != p.Token:
			c.breach(OneEvent, p.Start, "event %s carries %q and %q", p.Event, token, p.Token)
		default:
			eventOf[p.Token], tokenOf[p.Event] = p.Event, p.Token
		}
		c.Checked[TenantsApart]++
		if !c.mayReceive(h, o) {
			c.breach(TenantsApart, p.Start, "%s of %s, agent %s, arrived at %s of %s", p.Event, o.Tenant, o.Agent, h.Name, h.Tenant)
		}
	}
}

// deliveries finds lost deliveries, and repeated POSTs that differ from the first.
func (c *check) deliveries() {
	answered := c.sameBytes()
	givenUp, waiting := c.unanswered()
	for token, a := range c.accepted {
		for _, id := range c.hookIDs {
			h := c.hooks[id]
			at := pair{token, id}
			// The offer's time counts: the commit came some time after it.
			if offered := c.offered[token]; offered == nil || !c.mustReceive(h, offered) {
				if answered[at] != 0 {
					c.Either++
				}
				continue
			}
			if a.WithBroker() && c.firstPost[token] == 0 && c.wipedAfter(a.At) {
				c.WithBroker++
				continue
			}
			c.Wanted++
			c.Checked[NothingLost]++
			switch {
			case answered[at] != 0:
				c.Delivered++
				c.Latencies = append(c.Latencies, us(max(answered[at]-a.At, 0)))
			case givenUp[at]:
				c.GivenUp++
			case c.gone(id):
				c.Deleted++
			case waiting[at]:
				c.Waiting++
			default:
				c.breach(NothingLost, a.At, "%q (%s, by %s) did not reach %s", token, a.Event, a.Via, h.Name)
			}
		}
	}
}

// sameBytes compares the POSTs of each delivery, and returns when each event was first answered 2xx by each webhook.
func (c *check) sameBytes() map[pair]int64 {
	answered := map[pair]int64{}
	rowOf := map[pair]string{}
	for delivery, posts := range c.byRow {
		first := posts[0]
		for _, p := range posts {
			if p.OK() {
				at := pair{p.Token, p.Hook}
				if answered[at] == 0 || p.End < answered[at] {
					answered[at] = p.End
				}
			}
			if p == first {
				continue
			}
			c.Checked[SameBytes]++
			if p.Hook != first.Hook || p.Event != first.Event || p.Body != first.Body {
				c.breach(SameBytes, p.Start, "%s was POSTed with other ids, to another URL or with other bytes than at first", delivery)
			}
		}
		at := pair{first.Token, first.Hook}
		if other := rowOf[at]; other != "" {
			c.breach(SameBytes, first.Start, "%q went to %s as %s and as %s", first.Token, first.Hook, other, delivery)
		}
		rowOf[at] = delivery
	}
	return answered
}

// unanswered returns the deliveries that used up their attempts, and those that wait for one after the run.
func (c *check) unanswered() (givenUp, waiting map[pair]bool) {
	givenUp, waiting = map[pair]bool{}, map[pair]bool{}
	for _, r := range c.rowOf {
		if c.scheduled(r) {
			waiting[pair{c.byRow[r.Delivery][0].Token, r.Hook}] = true
		}
		if r.Status == "failed" && r.Attempts >= r.Max {
			if posts := c.byRow[r.Delivery]; len(posts) > 0 {
				givenUp[pair{posts[0].Token, r.Hook}] = true
			}
		}
	}
	return givenUp, waiting
}

// forgotten reports whether a POST may have no row. That is so if the database crashed before the
// fan-out's commit was on disk, and the webhook changed before the event was fanned out a second time.
func (c *check) forgotten(p *history.Post) bool {
	if len(c.states[p.Hook]) < 2 {
		return false
	}
	return slices.ContainsFunc(c.faults, func(f *history.Fault) bool {
		return slices.Contains(takeLeases, f.Name) && f.End >= p.Start && f.Start <= p.End+forgetting
	})
}

// wipedAfter reports whether the broker lost all of its data after a moment.
func (c *check) wipedAfter(at int64) bool {
	return slices.ContainsFunc(c.faults, func(f *history.Fault) bool { return f.Name == wipeName && f.End >= at })
}

// rows compares the table with what the receivers got.
func (c *check) rows() {
	type once struct{ event, hook string }
	only := map[once]string{}
	for _, r := range c.rowOf {
		c.Checked[AllEnd]++
		c.Checked[RowsTrue]++
		posts := c.byRow[r.Delivery]
		ok := false
		for _, p := range posts {
			ok = ok || p.OK()
			if p.Event != r.Event || p.Hook != r.Hook {
				c.breach(RowsTrue, 0, "the row %s belongs to %s and %s, but its POST carried %s to %s", r.Delivery, r.Event, r.Hook, p.Event, p.Hook)
			}
		}
		switch {
		case c.scheduled(r):
		case r.Status == "pending" && r.Due <= r.At:
			c.breach(AllEnd, 0, "%s has been due for %s, after %d attempts", r.Delivery, us(r.At-r.Due), r.Attempts)
		case r.Status == "pending":
			c.breach(AllEnd, 0, "%s waits for another %s, after %d attempts", r.Delivery, us(r.Due-r.At), r.Attempts)
		case r.Finished == 0:
			c.breach(AllEnd, 0, "%s is %s without a time of its end", r.Delivery, r.Status)
		case r.Status == "delivered" && !ok:
			c.breach(RowsTrue, r.Finished, "%s is delivered in the table; the receiver never answered 2xx", r.Delivery)
		case r.Status == "failed" && slices.Contains(deletedErrors, r.Error) && c.gone(r.Hook):
			// It was answered at the same moment, or never.
		case r.Status == "failed" && ok:
			c.breach(RowsTrue, r.Finished, "%s is failed in the table (%s); the receiver answered 2xx", r.Delivery, r.Error)
		case r.Status == "failed" && r.Attempts < r.Max:
			c.breach(RowsTrue, r.Finished, "%s is failed after %d of %d attempts: %s", r.Delivery, r.Attempts, r.Max, r.Error)
		}
		key := once{r.Event, r.Hook}
		if other := only[key]; other != "" {
			c.breach(RowsTrue, 0, "the rows %s and %s both belong to %s for %s", other, r.Delivery, r.Event, r.Hook)
		}
		only[key] = r.Delivery
	}
	for delivery, posts := range c.byRow {
		if c.rowOf[delivery] == nil && !c.forgotten(posts[0]) {
			c.breach(RowsTrue, posts[0].Start, "%s was POSTed and has no row", delivery)
		}
	}
	if c.end.Outbox > 0 {
		c.breach(AllEnd, 0, "%d events wait in the outbox", c.end.Outbox)
	}
	final := map[string]*history.Row{}
	for _, r := range c.seen {
		before := final[r.Delivery]
		if before != nil {
			c.Checked[FinalStays]++
			if r.Status != before.Status || r.Attempts != before.Attempts || r.Finished != before.Finished {
				c.breach(FinalStays, r.At, "%s was %s after %d attempts, and then %s after %d", r.Delivery, before.Status, before.Attempts, r.Status, r.Attempts)
			}
		}
		if before != nil || r.Status != "pending" {
			final[r.Delivery] = r
		}
	}
}

// scheduled reports whether a pending row waits for an attempt that the run does not wait for: all its
// attempts were made and refused, and the next is not later than the schedule allows.
func (c *check) scheduled(r *history.Row) bool {
	posts := c.byRow[r.Delivery]
	wait := c.run.RetriesUS[r.Attempts]
	if r.Status != "pending" || wait == 0 || len(posts) == 0 || r.Due <= r.At {
		return false
	}
	refused := map[int]bool{}
	end := int64(0)
	for _, p := range posts {
		if p.OK() {
			return false
		}
		refused[p.Attempt] = true
		end = max(end, p.End)
	}
	return len(refused) == r.Attempts && r.Due <= end+wait+settling
}

func us(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
