package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// attemptTimeout is what the dispatcher allows an attempt.
const attemptTimeout = 15 * time.Second

// bench is a scheduler that owns all partitions, under a clock that only the
// test moves.
type bench struct {
	*Scheduler
	now      Now
	count    uint64
	commands []Command // what was asked for, except for starts
}

func newBench(t testing.TB, fast, slow int) *bench {
	t.Helper()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := &bench{
		Scheduler: New(Options{FastSlots: fast, SlowSlots: slow, Cores: 2, LeaseLeft: attemptTimeout + time.Second}),
		now:       Now{Time: at, Earliest: at.UnixMicro(), Latest: at.UnixMicro()},
	}
	b.Own(everything())
	b.Lease(at.Add(1000 * time.Hour))
	return b
}

func everything() (all [events.Partitions]bool) {
	for p := range all {
		all[p] = true
	}
	return all
}

func hook(id, tenant byte, maxInFlight int) *Webhook {
	return &Webhook{ID: events.WebhookID{id}, TenantID: events.TenantID{tenant}, MaxInFlight: maxInFlight}
}

func (b *bench) delivery(w *Webhook) *Delivery {
	b.count++
	d := &Delivery{WebhookID: w.ID, Lease: b.now.Latest + (1000 * time.Hour).Microseconds(), Envelope: []byte("{}")}
	for i := range 8 {
		d.ID[8+i] = byte(b.count >> (8 * i))
	}
	return d
}

func (b *bench) offer(w *Webhook, attempts int) (Admission, *Delivery) {
	d := b.delivery(w)
	d.Attempts = attempts
	return b.Add(b.now, d, w), d
}

func (b *bench) pass(d time.Duration) {
	b.now.Time = b.now.Time.Add(d)
	b.now.Earliest += d.Microseconds()
	b.now.Latest += d.Microseconds()
}

// begin returns what may start now.
func (b *bench) begin() (started []*Delivery) {
	b.Advance(b.now)
	for _, c := range b.Commands() {
		if c.Kind == Start {
			started = append(started, c.Delivery)
		} else {
			b.commands = append(b.commands, c)
		}
	}
	return started
}

// beginAll also starts what waits for slow start.
func (b *bench) beginAll() []*Delivery {
	out := b.begin()
	for !b.slowStart.until.IsZero() {
		b.pass(b.slowStart.until.Sub(b.now.Time))
		out = append(out, b.begin()...)
	}
	return out
}

// took removes the commands of a kind and returns them.
func (b *bench) took(kind CommandKind) (out []Command) {
	b.commands = slices.DeleteFunc(append(b.commands, b.Commands()...), func(c Command) bool {
		if c.Kind == kind {
			out = append(out, c)
		}
		return c.Kind == kind
	})
	return out
}

func (b *bench) end(d *Delivery, r Result) {
	b.Finish(b.now, d, r)
	b.Recorded(b.now, d, 0)
}

var (
	fine    = Result{Outcome: Delivered, Duration: time.Millisecond, Latency: time.Millisecond}
	timeout = Result{Outcome: TimedOut, Duration: attemptTimeout}
	broken  = Result{Outcome: Overloaded}
	refused = Result{Outcome: Failed}
)
