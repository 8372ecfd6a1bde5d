package scheduler

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Options size a scheduler.
type Options struct {
	// FastSlots and SlowSlots bound the attempts in flight of endpoints that
	// answer within a second, and of slower ones. Both must be positive.
	FastSlots, SlowSlots int
	// Cores is how many processor cores there are. It bounds slow start. It
	// must be positive.
	Cores int
	// LeaseLeft is how long a row's lease must last for an attempt to start.
	LeaseLeft time.Duration
}

// mode says what the scheduler may start.
type mode uint8

const (
	modeRunning mode = iota
	modeBlocked      // outcomes can't be written: no attempts
	modeStopping
	modeIdle // stopped, and no attempt is in flight
)

// Scheduler holds the lanes and decides which delivery is next. It has no lock:
// the caller serializes all calls. Make one with [New].
type Scheduler struct {
	o          Options
	mode       mode
	leaseUntil time.Time // no attempt starts from then on
	owned      [events.Partitions]bool
	suspect    [events.Partitions]int64 // leases that end before must be renewed first

	lanes map[events.WebhookID]*lane
	held  map[events.DeliveryID]*Delivery

	fast, slow *pool
	inFlight   inFlightList
	budget     budget
	timers     timers

	slowStart slowStart
	startedAt time.Time // the time of the last round of starts

	wanted   queue[*lane] // lanes to fetch for; those no longer fetchWanted are skipped
	fetching int          // lanes of the fetch that is running; 0: none runs
	leased   int          // rows of all fetches

	wakeAt  time.Time // the last Wake's
	evictAt time.Time

	queued, flying int
	out            []Command
}

// New returns a scheduler that owns no partition.
func New(o Options) *Scheduler {
	return &Scheduler{
		o: o, fast: newPool(o.FastSlots, newThrottle(o.Cores, o.FastSlots)), slow: newPool(o.SlowSlots, throttle{}),
		lanes:     make(map[events.WebhookID]*lane),
		held:      make(map[events.DeliveryID]*Delivery),
		budget:    budget{shared: make(map[*byte]int)},
		slowStart: newSlowStart(o.Cores),
	}
}

// Commands returns what the caller must do, in order, and forgets it. The slice
// is valid until the next call of any other method.
func (s *Scheduler) Commands() []Command {
	out := s.out
	s.out = s.out[:0]
	return out
}

func (s *Scheduler) emit(kind CommandKind, d *Delivery) {
	s.out = append(s.out, Command{Kind: kind, Delivery: d})
}

// record takes a delivery out of its lane; kind says what its row becomes.
func (s *Scheduler) record(kind CommandKind, d *Delivery) {
	d.phase = phaseRecording
	s.emit(kind, d)
}

// empty takes all queued deliveries out of a lane.
func (s *Scheduler) empty(l *lane, kind CommandKind) {
	s.queued -= l.queued()
	for _, q := range []*queue[*Delivery]{&l.first, &l.again} {
		for q.len() > 0 {
			s.record(kind, q.pop())
		}
	}
}

// releaseSlot ends the delivery's time in flight.
func (s *Scheduler) releaseSlot(d *Delivery) {
	if d.phase == phaseFast {
		s.leaveFast(d)
	} else {
		s.slow.release(s.slow.share(d.lane.webhook.TenantID))
	}
	d.phase = phaseRecording
	d.lane.inFlight--
	s.flying--
}

// leaveFast frees the delivery's fast slot.
func (s *Scheduler) leaveFast(d *Delivery) {
	sh := s.fast.share(d.lane.webhook.TenantID)
	if d.unproven {
		d.unproven = false
		sh.unproven--
	}
	s.inFlight.remove(d)
	s.fast.release(sh)
}
