package dispatch

import (
	"container/heap"
	"time"

	"github.com/fanmail-dev/fanmail/subscribers"
)

// ring wakes whoever waits at a bell, a channel with room for one; who rings
// before it has been heard adds nothing.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// laneHeap orders lanes by their alarms.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].alarm.Before(h[j].alarm) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].alarmAt, h[j].alarmAt = i, j
}

func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.alarmAt = len(*h)
	*h = append(*h, l)
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.alarmAt = -1
	return l
}

// setAlarm has the lane considered again at t, or earlier where it has an
// earlier alarm.
func (s *scheduler) setAlarm(l *lane, t time.Time) {
	if l.alarmAt >= 0 {
		if !t.Before(l.alarm) {
			return
		}
		l.alarm = t
		heap.Fix(&s.alarms, l.alarmAt)
	} else {
		l.alarm = t
		heap.Push(&s.alarms, l)
	}
	if l.alarmAt == 0 {
		ring(s.rung)
	}
}

// tick considers the lanes whose alarms are due and moves attempts that have
// become slow out of the fast pool. It gives the time to the next tick.
func (s *scheduler) tick(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.alarms) > 0 && !s.alarms[0].alarm.After(now) {
		l := heap.Pop(&s.alarms).(*lane)
		s.consider(l, now)
	}
	for d := s.flight.head; d != nil && now.Sub(d.started) >= slowAttempt; d = s.flight.head {
		s.flight.remove(d)
		tenant := d.entry.TenantID
		d.pool.release(d.pool.share(tenant))
		d.pool = s.slow
		s.slow.occupy(s.slow.share(tenant))
		d.lane.slow = true
	}
	wait := time.Second
	if !now.Before(s.heldUntil) {
		s.heldUntil = time.Time{} // the caller goes on with what waited
	} else {
		wait = s.heldUntil.Sub(now)
	}
	if len(s.alarms) > 0 {
		wait = min(wait, s.alarms[0].alarm.Sub(now))
	}
	if d := s.flight.head; d != nil {
		wait = min(wait, slowAttempt-now.Sub(d.started))
	}
	return max(wait, time.Millisecond)
}

// wants takes up to n lanes that the sweep is to lease rows for.
func (s *scheduler) wants(n int) []subscribers.FetchRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []subscribers.FetchRequest
	total, rows, tight := 0, s.stock.rows(len(s.held)), s.stock.bytes > stockBytes/2
	for l := range s.pulls {
		if len(out) == n || total >= rows {
			break
		}
		delete(s.pulls, l)
		room := min(l.ahead()-l.queued(), sweepRoom, rows-total)
		if tight {
			room = min(room, queueSlow-l.queued())
		}
		strict := l.entry.Strict && !l.entry.Deleted
		switch {
		case strict:
			room = 1
		case l.entry.Deleted:
			room = sweepRoom
		}
		if room <= 0 {
			continue
		}
		l.pulling = true
		total += room
		out = append(out, subscribers.FetchRequest{WebhookID: l.id, TenantID: l.entry.TenantID, Room: room, Strict: strict})
	}
	if len(s.pulls) > 0 {
		ring(s.rung)
	}
	return out
}

// pulled ends a lane's pull of some rows: next is when its next row is due
// (Unix microseconds), 0 where nothing is pending, negative where the pull
// failed.
func (s *scheduler) pulled(want subscribers.FetchRequest, rows int, next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[want.WebhookID]
	if l == nil {
		return
	}
	l.pulling = false
	if next >= 0 {
		l.nextDue = next
	}
	now := time.Now()
	switch {
	case next < 0:
		s.setAlarm(l, now.Add(time.Second))
	case rows == 0 && next != 0 && s.clock.until(next) <= 0:
		s.setAlarm(l, now.Add(20*time.Millisecond)) // due, but another transaction has it locked
	default:
		s.consider(l, now)
	}
}

// evict forgets lanes that have had nothing to do for long.
func (s *scheduler) evict(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.inFlight == 0 && l.queued() == 0 && l.nextDue == 0 && !l.pulling && !l.ready && now.Sub(l.usedAt) > laneIdle {
			s.drop(l)
		}
	}
}

// seat links the attempts in flight on fast slots, oldest first.
type seat struct {
	prev, next *delivery
	taken      bool
}

type flight struct{ head, tail *delivery }

func (f *flight) push(d *delivery) {
	d.seat = seat{prev: f.tail, taken: true}
	if f.tail != nil {
		f.tail.seat.next = d
	} else {
		f.head = d
	}
	f.tail = d
}

func (f *flight) remove(d *delivery) {
	if !d.seat.taken {
		return
	}
	if d.seat.prev != nil {
		d.seat.prev.seat.next = d.seat.next
	} else {
		f.head = d.seat.next
	}
	if d.seat.next != nil {
		d.seat.next.seat.prev = d.seat.prev
	} else {
		f.tail = d.seat.prev
	}
	d.seat = seat{}
}
