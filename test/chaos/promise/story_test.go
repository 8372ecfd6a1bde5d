package promise_test

import (
	"fmt"
	"slices"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
	"github.com/fanmail-dev/fanmail/test/chaos/promise"
)

const second = 1_000_000

// story is a history in which every promise was kept. It has two events of one tenant and one of
// another, a strict webhook, one with a limit of 2, and one of the other tenant. A killed dispatcher
// made one extra POST.
type story struct{ records []history.Record }

func tale() *story {
	s := &story{}
	s.add(history.Record{Kind: history.KindRun, Run: &history.Run{At: 1, LeaseUS: 30 * second, GuardUS: 16 * second}})
	s.add(history.Record{Kind: history.KindHook, Hook: &history.Hook{ID: "wh_strict", Name: "strict", Tenant: "a", Cap: 32, Strict: true}})
	s.add(history.Record{Kind: history.KindHook, Hook: &history.Hook{ID: "wh_cap", Name: "cap", Tenant: "a", Agents: []string{"x", "y"}, Cap: 2}})
	s.add(history.Record{Kind: history.KindHook, Hook: &history.Hook{ID: "wh_other", Name: "other", Tenant: "b", Cap: 1}})
	for n, o := range []history.Offer{{Tenant: "a", Agent: "x"}, {Tenant: "a", Agent: "y"}, {Tenant: "b", Agent: "z"}} {
		o.Token, o.Via, o.Event = fmt.Sprintf("t%d", n+1), "api", fmt.Sprintf("evt_%d", n+1)
		offered, accepted := o, o
		offered.At, offered.Event, accepted.At, accepted.Tries = int64(100+100*n), "", int64(150+100*n), 1
		s.add(history.Record{Kind: history.KindOffered, Offer: &offered})
		s.add(history.Record{Kind: history.KindAccepted, Offer: &accepted})
	}
	s.post("wh_strict", 1, 1, 1000, 2000, 200)
	s.post("wh_strict", 2, 1, 3000, 4000, 500)
	s.post("wh_strict", 2, 2, 2*second, 2*second+10, 200)
	s.post("wh_cap", 1, 1, 1000, 9000, 200)
	s.post("wh_cap", 2, 1, 1000, 9000, 200)
	s.post("wh_other", 3, 1, 5000, 6000, 200)
	// The dispatcher was killed before it had recorded that.
	s.add(history.Record{Kind: history.KindFault, Fault: &history.Fault{Name: "kill", Party: "dispatcher-1", Start: 6500, End: second}})
	s.post("wh_other", 3, 1, 20*second, 20*second+10, 200)
	// JetStream took nothing all the while.
	s.add(history.Record{Kind: history.KindFault, Fault: &history.Fault{Name: promise.NoQuorum, Party: "nats", Start: -11 * second, End: 11 * second}})
	// A stranger attacked the API while the last two events came.
	s.add(history.Record{Kind: history.KindAttack, Attack: &history.Attack{
		Name: "attack.slow bodies", Via: history.ViaAPI, Start: 180, End: 1000, Sent: 10, Answered: 9, Cut: 1, Pairs: 5, Late: 1, Refusals: 20, Commands: 200, Memory: 10, Limit: 20,
	}})
	// This webhook was created disabled, enabled and deleted.
	s.add(history.Record{Kind: history.KindHook, Hook: &history.Hook{ID: "wh_change", Name: "change", Tenant: "b", Cap: 8, Off: true}})
	s.add(history.Record{Kind: history.KindChange, Change: &history.Change{Hook: "wh_change", Asked: 10, Done: 20, On: true}})
	s.add(history.Record{Kind: history.KindChange, Change: &history.Change{Hook: "wh_change", Asked: 60 * second, Done: 61 * second, Gone: true}})
	s.post("wh_change", 3, 1, 7000, 8000, 200)
	s.row("wh_change", 3, 3, "delivered", 1)
	s.row("wh_strict", 1, 1, "delivered", 1)
	s.row("wh_strict", 2, 2, "delivered", 2)
	s.row("wh_cap", 1, 1, "delivered", 1)
	s.row("wh_cap", 2, 2, "delivered", 1)
	s.row("wh_other", 3, 3, "delivered", 1)
	s.add(history.Record{Kind: history.KindEnd, End: &history.End{At: 100 * second}})
	return s
}

func (s *story) add(r history.Record) { s.records = append(s.records, r) }

func delivery(hook string, event int) string { return fmt.Sprintf("whd_%s_%d", hook, event) }

func (s *story) post(hook string, event, attempt int, start, end int64, status int) {
	s.add(history.Record{Kind: history.KindPost, Post: &history.Post{
		Hook: hook, Token: fmt.Sprintf("t%d", event), Event: fmt.Sprintf("evt_%d", event), Delivery: delivery(hook, event),
		Attempt: attempt, Body: fmt.Sprintf("hash%d", event), Signed: true, Start: start, End: end, Status: status,
	}})
}

func (s *story) row(hook string, event int, seq int64, status string, attempts int) {
	r := history.Row{
		At: 99 * second, Delivery: delivery(hook, event), Event: fmt.Sprintf("evt_%d", event), Hook: hook, Seq: seq,
		Status: status, Attempts: attempts, Max: 8, Finished: 30 * second,
	}
	seen := r
	seen.At = 40 * second
	s.add(history.Record{Kind: history.KindSeen, Row: &seen})
	s.add(history.Record{Kind: history.KindRow, Row: &r})
}

// posts returns the POSTs of a delivery.
func (s *story) posts(id string) (out []*history.Post) {
	for _, r := range s.records {
		if r.Kind == history.KindPost && r.Post.Delivery == id {
			out = append(out, r.Post)
		}
	}
	return out
}

// last returns the row at the end.
func (s *story) last(id string) *history.Row {
	for _, r := range s.records {
		if r.Kind == history.KindRow && r.Row.Delivery == id {
			return r.Row
		}
	}
	return nil
}

func (s *story) fault() *history.Fault {
	at := slices.IndexFunc(s.records, func(r history.Record) bool { return r.Kind == history.KindFault })
	return s.records[at].Fault
}

func (s *story) attack() *history.Attack {
	at := slices.IndexFunc(s.records, func(r history.Record) bool { return r.Kind == history.KindAttack })
	return s.records[at].Attack
}

// accepted returns the acceptance of an event.
func (s *story) accepted(token string) *history.Offer {
	at := slices.IndexFunc(s.records, func(r history.Record) bool { return r.Kind == history.KindAccepted && r.Offer.Token == token })
	return s.records[at].Offer
}

func (s *story) drop(cond func(history.Record) bool) { s.records = slices.DeleteFunc(s.records, cond) }

func (s *story) changes(id string) (out []*history.Change) {
	for _, r := range s.records {
		if r.Kind == history.KindChange && r.Change.Hook == id {
			out = append(out, r.Change)
		}
	}
	return out
}

func (s *story) hook(id string) *history.Hook {
	for _, r := range s.records {
		if r.Kind == history.KindHook && r.Hook.ID == id {
			return r.Hook
		}
	}
	return nil
}
