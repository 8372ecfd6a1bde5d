package scheduler

import "time"

// Outcome says how an attempt ended, as far as the next attempts depend on it.
type Outcome uint8

// The outcomes of an attempt.
const (
	// Delivered: the endpoint answered 2xx.
	Delivered Outcome = iota
	// Failed: the endpoint dislikes the event, or can't be reached for a
	// reason that is not load.
	Failed
	// Overloaded: the endpoint can't keep up.
	Overloaded
	// TimedOut: no complete answer came. It counts as overload too.
	TimedOut
	// Stopped: this process ended the attempt. It tells nothing of the
	// endpoint, and the delivery is released.
	Stopped
)

// Result is the end of one attempt.
type Result struct {
	Outcome Outcome
	// RetryAfter is how long the endpoint asked to be left alone. Zero: it did
	// not ask.
	RetryAfter time.Duration
	// Duration of the attempt.
	Duration time.Duration
	// Latency is the part of Duration in which the endpoint had the request:
	// without the time to look up, connect and shake hands. Zero: not known.
	Latency time.Duration
}

// overload says that fewer attempts at once would help the endpoint.
func (r Result) overload() bool { return r.Outcome == Overloaded || r.Outcome == TimedOut }
