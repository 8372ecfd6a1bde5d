package scheduler

import "time"

const (
	// breakerFailures in a row, or breakerTimeouts in a row, open a breaker.
	breakerFailures = 10
	breakerTimeouts = 4
	// A probe comes after a rest of probeFirst; each failed probe doubles the
	// rest, up to probeMax.
	probeFirst = time.Second
	probeMax   = time.Minute
)

type breakerState uint8

const (
	breakerClosed  breakerState = iota
	breakerOpen                 // no attempt is made before the next probe
	breakerProbing              // one attempt, the probe, is in flight
)

// breaker is a lane's circuit breaker. The zero value is closed.
type breaker struct {
	state              breakerState
	failures, timeouts int           // in a row
	rest               time.Duration // before the next probe; 0: closed
}

func (b *breaker) open() bool { return b.state != breakerClosed }

// started notes that an attempt begins.
func (b *breaker) started() {
	if b.state == breakerOpen {
		b.state = breakerProbing
	}
}

// stopped notes that this process ended an attempt, which proves nothing.
func (b *breaker) stopped() {
	if b.state == breakerProbing {
		b.state = breakerOpen
	}
}

// failed notes a failure. It returns the rest that the lane must take where
// the breaker opens or its probe failed, and 0 otherwise. Attempts that were in
// flight when the breaker opened do not lengthen the rest.
func (b *breaker) failed(timeout bool) time.Duration {
	b.failures++
	b.timeouts++
	if !timeout {
		b.timeouts = 0
	}
	switch b.state {
	case breakerClosed:
		if b.failures < breakerFailures && b.timeouts < breakerTimeouts {
			return 0
		}
		b.rest = probeFirst
	case breakerOpen:
		return 0
	case breakerProbing:
		b.rest = min(2*b.rest, probeMax)
	}
	b.state = breakerOpen
	return b.rest
}
