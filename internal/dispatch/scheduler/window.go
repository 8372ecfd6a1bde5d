package scheduler

import (
	"math"
	"time"
)

const (
	// firstWindow is how many attempts a lane may have in flight at first.
	firstWindow = 4
	// crowdedWindow is the same for a lane of a tenant in slow start.
	crowdedWindow = 1
)

// window bounds a lane's attempts in flight by what the endpoint has shown.
type window struct {
	size      float64
	threshold float64 // below it the window doubles each round, above it grows by 1
	cutAt     time.Time
}

// newWindow returns a window that doubles until the first overload.
func newWindow(size float64) window { return window{size: size, threshold: math.Inf(1)} }

// grow follows a success in a window that was in use.
func (w *window) grow(most int) {
	if w.size < w.threshold {
		w.size++
	} else {
		w.size += 1 / w.size
	}
	w.size = min(w.size, float64(most))
}

// cut halves the window once a round: attempts that were in flight together
// fail together. started is when the failed attempt began.
func (w *window) cut(started, now time.Time) {
	if !started.After(w.cutAt) {
		return
	}
	w.size = max(1, w.size/2)
	w.threshold = w.size
	w.cutAt = now
}

// close leaves one attempt at a time, and slow growth after it.
func (w *window) close() { w.size, w.threshold = 1, firstWindow }
