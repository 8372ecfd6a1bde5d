package promise

import (
	"fmt"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// Promise is the name of a promise.
type Promise string

// The promises.
const (
	NothingLost   Promise = "nothing is lost"
	OneEvent      Promise = "one event a key, and none that nobody sent"
	AllEnd        Promise = "every row ends, none is stuck"
	RowsTrue      Promise = "rows say what the receiver saw"
	FinalStays    Promise = "a final row stays as it is"
	TwiceExplain  Promise = "a POST too many has its fault"
	LeaseHolds    Promise = "a lease is the only right to POST"
	CapsHold      Promise = "caps hold over all replicas"
	StrictOrder   Promise = "strict order is kept"
	CommitOrder   Promise = "the sequence is the commit order"
	Signed        Promise = "every POST is signed"
	TenantsApart  Promise = "tenants and filters are kept apart"
	SameBytes     Promise = "every POST of a delivery is the same"
	NoRedirection Promise = "redirects are not followed"
	OffIsOff      Promise = "a webhook that is off is left alone"
	GoesOn        Promise = "deliveries go on without JetStream"
	Unhindered    Promise = "strangers do not hold up honest senders"
	Bounded       Promise = "strangers are answered, cut off and bounded"
)

// Promises lists all promises, in the order of reports.
var Promises = []Promise{
	NothingLost, OneEvent, AllEnd, RowsTrue, FinalStays, TwiceExplain, LeaseHolds, CapsHold, StrictOrder,
	CommitOrder, Signed, TenantsApart, SameBytes, NoRedirection, OffIsOff, GoesOn, Unhindered, Bounded,
}

// Breach is one way in which a promise was broken.
type Breach struct {
	Promise Promise
	At      int64 // when it showed, in Unix microseconds; 0: at the end
	Text    string
}

// Effect is what the history shows about the faults of one name.
type Effect struct {
	Name     string
	Times    int
	Seconds  float64
	Accepted int // events accepted during it
	Posts    int // POSTs in flight during it
	Twice    int // extra POSTs that it explains
	Overlaps int // excesses of an in-flight limit that it explains
	// Breaches are those that showed during it or within a lease after it.
	Breaches map[Promise]int
}

// Result is what [Check] found in a history.
type Result struct {
	// Checked counts how often each promise was tested.
	Checked  map[Promise]int
	Breaches []Breach
	Effects  []Effect // by name

	Offered, Accepted, Wanted, Delivered int // events, events, deliveries, deliveries with a 2xx
	Posts, Twice, Overlaps, GivenUp      int
	// Deleted counts deliveries that ended with their webhook. Either counts deliveries that may exist
	// or not, because their webhook changed around their event. Waiting counts deliveries whose next
	// attempt comes after the run, as scheduled. WithBroker counts deliveries of events that only the
	// broker had acknowledged, on the intake subject or through an edge, and lost with all of its data
	// before they were taken in, which no promise covers.
	Deleted, Either, Waiting, WithBroker int

	// Attacks are in the order of time.
	Attacks []Attacked

	// Latencies are the times from an event's acceptance to a delivery's first 2xx, sorted.
	Latencies []time.Duration
}

// Kept reports whether no promise was broken.
func (v *Result) Kept() bool { return len(v.Breaches) == 0 }

// Broken counts the breaches of a promise.
func (v *Result) Broken(p Promise) int {
	n := 0
	for _, b := range v.Breaches {
		if b.Promise == p {
			n++
		}
	}
	return n
}

// Check checks a history. The error means that the history is not complete, so that it proves nothing.
func Check(records []history.Record) (*Result, error) {
	c := &check{Result: Result{Checked: map[Promise]int{}}}
	if err := c.read(records); err != nil {
		return nil, err
	}
	c.events()
	c.deliveries()
	c.outages()
	c.attacked()
	c.rows()
	c.twice()
	c.off()
	c.caps()
	c.strict()
	c.sequence()
	c.effects()
	slices.Sort(c.Latencies)
	return &c.Result, nil
}

// check is the state of [Check].
type check struct {
	Result
	run       *history.Run
	end       *history.End
	hooks     map[string]*history.Hook
	hookIDs   []string           // in the order of their creation
	states    map[string][]state // by webhook, in the order of time
	offered   map[string]*history.Offer
	accepted  map[string]*history.Offer
	posts     []*history.Post  // sorted by start
	firstPost map[string]int64 // of an event, by its token
	byRow     map[string][]*history.Post
	faults    []*history.Fault
	attacks   []*history.Attack
	rowOf     map[string]*history.Row // by delivery
	seen      []*history.Row
	excused   map[*history.Fault]*Effect
}

func (c *check) breach(p Promise, at int64, format string, args ...any) {
	c.Breaches = append(c.Breaches, Breach{Promise: p, At: at, Text: fmt.Sprintf(format, args...)})
}

func (c *check) read(records []history.Record) error {
	c.hooks, c.offered, c.accepted = map[string]*history.Hook{}, map[string]*history.Offer{}, map[string]*history.Offer{}
	c.byRow, c.rowOf = map[string][]*history.Post{}, map[string]*history.Row{}
	c.firstPost = map[string]int64{}
	c.excused, c.states = map[*history.Fault]*Effect{}, map[string][]state{}
	for _, r := range records {
		switch r.Kind {
		case history.KindRun:
			c.run = r.Run
		case history.KindEnd:
			c.end = r.End
		case history.KindHook:
			c.hooks[r.Hook.ID] = r.Hook
			c.hookIDs = append(c.hookIDs, r.Hook.ID)
			c.states[r.Hook.ID] = append(c.states[r.Hook.ID], state{on: !r.Hook.Off, agents: r.Hook.Agents})
		case history.KindChange:
			c.change(r.Change)
		case history.KindOffered:
			c.offered[r.Offer.Token] = r.Offer
		case history.KindAccepted:
			c.accepted[r.Offer.Token] = r.Offer
		case history.KindPost:
			c.posts = append(c.posts, r.Post)
		case history.KindFault:
			c.faults = append(c.faults, r.Fault)
			c.excused[r.Fault] = &Effect{}
		case history.KindAttack:
			c.attacks = append(c.attacks, r.Attack)
		case history.KindSeen:
			c.seen = append(c.seen, r.Row)
		case history.KindRow:
			c.seen = append(c.seen, r.Row)
			if before := c.rowOf[r.Row.Delivery]; before != nil {
				c.breach(RowsTrue, 0, "the table has two rows %s", r.Row.Delivery)
			}
			c.rowOf[r.Row.Delivery] = r.Row
		default:
			return fmt.Errorf("a history has no records of kind %q", r.Kind)
		}
	}
	if c.run == nil || c.end == nil {
		return fmt.Errorf("the history is cut off: it has no beginning or no end")
	}
	slices.SortStableFunc(c.posts, func(a, b *history.Post) int { return int(a.Start - b.Start) })
	for _, p := range c.posts {
		if c.firstPost[p.Token] == 0 {
			c.firstPost[p.Token] = p.Start
		}
		if p.Hook != "" {
			c.byRow[p.Delivery] = append(c.byRow[p.Delivery], p)
		}
	}
	c.Offered, c.Accepted, c.Posts = len(c.offered), len(c.accepted), len(c.posts)
	return nil
}
