package stream

import (
	"errors"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// A bound keeps a stream from filling the account: other streams keep room, and so
// do the events that come. What a full stream drops first is what is oldest, and
// the outbox still has every event that is not fanned out.

// part is what a stream takes of its account's storage.
type part struct {
	// Of the account's limit it takes one part in so many, and another one if it is
	// on disk for lack of memory.
	divisor, onDisk int64
	// unlimited is the bound in bytes if the account has no limit.
	unlimited int64
	// most is the largest bound in bytes; zero: none.
	most int64
}

var parts = map[string]part{
	Events:     {divisor: 2, unlimited: 8 << 30},
	Deliveries: {divisor: 2, onDisk: 8, unlimited: 512 << 20, most: 512 << 20},
	Dead:       {divisor: 16, unlimited: 1 << 30, most: 1 << 30},
}

// leastBytes is the least bound that is tried: it holds a few events of any size.
const leastBytes = 2 << 20

// bytes returns the stream's bound in an account. info may be nil.
func (p part) bytes(info *jetstream.AccountInfo, c *jetstream.StreamConfig) int64 {
	bytes := p.unlimited
	if info != nil {
		limits, copies := info.Limits, int64(c.Replicas)
		if tier, ok := info.Tiers["R"+strconv.Itoa(c.Replicas)]; ok {
			limits, copies = tier.Limits, 1 // the tier's limit counts a message once
		}
		limit, divisor := limits.MaxStore, p.divisor
		switch {
		case c.Storage == jetstream.MemoryStorage:
			limit = limits.MaxMemory
		case p.onDisk > 0:
			divisor = p.onDisk
		}
		if limit > 0 {
			bytes = limit / divisor / copies
		}
	}
	if p.most > 0 {
		bytes = min(bytes, p.most)
	}
	return max(bytes, leastBytes)
}

// noRoom reports whether the broker refused a stream for its size. In a cluster
// that is an error about the placement of the stream.
func noRoom(err error) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.ErrorCode {
	case 10002, 10023, 10028, 10047:
		return true
	case 10005:
		return strings.Contains(refused.Description, "insufficient storage") || strings.Contains(refused.Description, "insufficient resources")
	}
	return false
}
