package scheduler

import (
	"container/heap"
	"time"
)

// timers orders lanes by when they are to be considered again.
type timers []*lane

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].timerAt.Before(h[j].timerAt) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer, h[j].timer = i, j
}

// Push and Pop are for container/heap.
func (h *timers) Push(x any) {
	l := x.(*lane)
	l.timer = len(*h)
	*h = append(*h, l)
}

func (h *timers) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.timer = -1
	return l
}

// set has the lane considered at t, or earlier where its timer is earlier.
func (h *timers) set(l *lane, t time.Time) {
	switch {
	case l.timer < 0:
		l.timerAt = t
		heap.Push(h, l)
	case t.Before(l.timerAt):
		l.timerAt = t
		heap.Fix(h, l.timer)
	}
}

// fired removes a lane whose time has come and returns it; nil: none.
func (h *timers) fired(now time.Time) *lane {
	if len(*h) == 0 || (*h)[0].timerAt.After(now) {
		return nil
	}
	return heap.Pop(h).(*lane)
}

// remove forgets the lane's timer.
func (h *timers) remove(l *lane) {
	if l.timer >= 0 {
		heap.Remove(h, l.timer)
	}
}
