package stream

import (
	"sync"
	"time"
)

// Publishing is the state of publishing to a stream.
type Publishing struct {
	Stream string
	// Err is the last failure; nil if the broker took the last message.
	Err error
	// Since is when the failures began, and Last when the last one was; zero if Err
	// is nil.
	Since, Last time.Time
	// LastSuccess is when the broker last took a message; zero: it took none yet.
	LastSuccess time.Time
	// PastBroker says that deliveries go on without this stream.
	PastBroker bool
}

// Health records the results of publishing to a stream. The zero value has none. It is safe for concurrent use.
type Health struct {
	mu          sync.Mutex
	err         error
	since, last time.Time
	success     time.Time
}

// Set records how the last publication ended, and reports whether that changed
// what [Health.Failing] returns.
func (h *Health) Set(err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = (err == nil) != (h.err == nil)
	h.err = err
	switch {
	case err == nil:
		h.since, h.last, h.success = time.Time{}, time.Time{}, time.Now()
	case changed:
		h.since = time.Now()
		h.last = h.since
	default:
		h.last = time.Now()
	}
	return changed
}

// Clear ends the failures, if the last one was at a time: what caused them is over, though
// nothing was published. It reports whether it did.
func (h *Health) Clear(last time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil || !h.last.Equal(last) {
		return false
	}
	h.err, h.since, h.last = nil, time.Time{}, time.Time{}
	return true
}

// Failing reports whether the last publication failed.
func (h *Health) Failing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err != nil
}

// Publishing returns the state of a stream.
func (h *Health) Publishing(name string) Publishing {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Publishing{Stream: name, Err: h.err, Since: h.since, Last: h.last, LastSuccess: h.success}
}
