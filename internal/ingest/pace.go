package ingest

import (
	"sync"
	"time"
)

// The minimum rate of a transfer: a mail may take leastGrace, and a second for each leastRate bytes. Under
// pressure, a transfer slower than slowRate may be cut off.
const (
	leastGrace = time.Minute
	leastRate  = 1 << 10
	slowRate   = 16 << 10
)

// pace measures how fast a mail arrives. Its rate is that since a mark, which is between one and two windows
// old. The zero value has not begun.
type pace struct {
	mu        sync.Mutex
	began     time.Time
	bytes     int64
	last      time.Time // the last byte's
	mark, old sample
}

type sample struct {
	at    time.Time
	bytes int64
}

func (p *pace) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began, p.bytes, p.last, p.mark, p.old = now, 0, now, sample{at: now}, sample{at: now}
}

// add counts n bytes.
func (p *pace) add(n int, window time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(n)
	p.last = now
	if now.Sub(p.mark.at) >= window {
		p.old, p.mark = p.mark, sample{now, p.bytes}
	}
}

// deadline is when the mail must have sent its next byte to keep the minimum rate.
func (p *pace) deadline() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.began.Add(leastGrace + time.Duration(p.bytes)*time.Second/leastRate)
}

// slow returns the rate in bytes per second, and whether the transfer is so slow that it may be cut off. In its
// first window it never is.
func (p *pace) slow(window time.Duration, now time.Time) (rate float64, slow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.began) < window {
		return 0, false
	}
	if now.Sub(p.last) < window {
		rate = float64(p.bytes-p.old.bytes) / max(now.Sub(p.old.at).Seconds(), 1e-3)
	}
	return rate, rate < slowRate
}
