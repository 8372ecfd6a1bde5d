package promise

import (
	"fmt"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// Promise is what is promised, by name.
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
)

// Promises are all of them, in the order of reports.
var Promises = []Promise{
	NothingLost, OneEvent, AllEnd, RowsTrue, FinalStays, TwiceExplain, LeaseHolds, CapsHold, StrictOrder,
	CommitOrder, Signed, TenantsApart, SameBytes, NoRedirection, OffIsOff,
}

// Breach is one way in which a promise was broken.
type Breach struct {
	Promise Promise
	At      int64 // when it showed, Unix microseconds; 0: at the end
	Text    string
}

// Effect is what the history shows of the faults of one name.
type Effect struct {
	Name     string
	Times    int
	Seconds  float64
	Accepted int // events accepted while it lasted
	Posts    int // POSTs that were on the wire while it lasted
	Twice    int // POSTs too many that it explains
	Overlaps int // excesses of a cap that it excuses
	// Breaches are those that showed while it lasted or within a lease after.
	Breaches map[Promise]int
}

// Verdict is a judged history.
type Verdict struct {
	// Checked counts how often each promise was put to the proof.
	Checked  map[Promise]int
	Breaches []Breach
	Effects  []Effect // by name

	Offered, Accepted, Wanted, Delivered int // events, events, deliveries, deliveries with a 2xx
	Posts, Twice, Overlaps, GivenUp      int
	// Deleted counts deliveries that ended with their webhook, Either those
	// that may be or not, since their webhook was changed around their event.
	// Waiting counts those whose next attempt comes after the run, in time.
	// WithBroker counts those of events that the broker had answered for, on
	// the intake subject, and lost with all of its data before they were taken
	// in: nobody promises those.
	Deleted, Either, Waiting, WithBroker int

	// Latencies are the times from an event's acceptance to a delivery's first
	// 2xx, in order.
	Latencies []time.Duration
}

// Kept says that no promise was broken.
func (v *Verdict) Kept() bool { return len(v.Breaches) == 0 }

// Broken counts the breaches of a promise.
func (v *Verdict) Broken(p Promise) int {
	n := 0
	for _, b := range v.Breaches {
		if b.Promise == p {
			n++
		}
	}
	return n
}

// Check judges a history. The error says that it is no whole history: one that
// was cut off proves nothing.
func Check(records []history.Record) (*Verdict, error) {
	c := &check{Verdict: Verdict{Checked: map[Promise]int{}}}
	if err := c.read(records); err != nil {
		return nil, err
	}
	c.events()
	c.deliveries()
	c.rows()
	c.twice()
	c.off()
	c.caps()
	c.strict()
	c.sequence()
	c.effects()
	slices.Sort(c.Latencies)
	return &c.Verdict, nil
}

// check is a judgement under way.
type check struct {
	Verdict
	run       *history.Run
	end       *history.End
	hooks     map[string]*history.Hook
	hookIDs   []string           // in the order of their making
	states    map[string][]state // by webhook, in the order of time
	offered   map[string]*history.Offer
	accepted  map[string]*history.Offer
	posts     []*history.Post  // by start
	firstPost map[string]int64 // of an event, by its token
	byRow     map[string][]*history.Post
	faults    []*history.Fault
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
		case history.KindSeen:
			c.seen = append(c.seen, r.Row)
		case history.KindRow:
			c.seen = append(c.seen, r.Row)
			if before := c.rowOf[r.Row.Delivery]; before != nil {
				c.breach(RowsTrue, 0, "%s stands in the table twice", r.Row.Delivery)
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
