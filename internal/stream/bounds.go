package stream

import (
	"cmp"
	"errors"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// part is the part of its account's storage that a stream may fill, so that the other
// streams keep room. A full stream drops its oldest messages. Nothing is lost: the outbox
// has every event that is not fanned out. A full intake stream refuses new messages instead.
type part struct {
	// The bound is the account's limit divided by divisor. onDisk replaces it for a
	// stream on disk that should be in memory; zero: it does not.
	divisor, onDisk int64
	// unlimited is the bound in bytes if the account has no limit.
	unlimited int64
	// most is the highest bound in bytes; zero: no limit.
	most int64
	// least is the lowest bound in bytes; zero: [leastBytes].
	least int64
}

var parts = map[string]part{
	Events:     {divisor: 2, unlimited: 8 << 30},
	Deliveries: {divisor: 2, onDisk: 8, unlimited: 512 << 20, most: 512 << 20},
	// A small account has no large share for mails of servers that it may not have.
	Raw:    {divisor: 16, unlimited: 8 << 30, least: 256 << 10},
	Intake: {divisor: 8, unlimited: 1 << 30},
	// A bound of a stream is reserved. The other parts leave a fourth of the account, which is enough for 32 tenants.
	ownPrefix: {divisor: 128, unlimited: 64 << 20, most: 64 << 20},
	Dead:      {divisor: 16, unlimited: 1 << 30, most: 1 << 30, least: 256 << 10},
}

// leastBytes is the lowest bound, with room for a few events of any size.
const leastBytes = 2 << 20

func (p part) floor() int64 { return cmp.Or(p.least, leastBytes) }

// share is what the stream's storage is divided by.
func (p part) share(c *jetstream.StreamConfig) int64 {
	if c.Storage == jetstream.FileStorage && p.onDisk > 0 {
		return p.onDisk
	}
	return p.divisor
}

// bytes returns the stream's bound in bytes. A nil info means an account without limits.
func (p part) bytes(info *jetstream.AccountInfo, c *jetstream.StreamConfig) int64 {
	bytes := p.unlimited
	if info != nil {
		limits, copies := info.Limits, int64(c.Replicas)
		if tier, ok := info.Tiers["R"+strconv.Itoa(c.Replicas)]; ok {
			limits, copies = tier.Limits, 1 // the tier's limit counts a message once
		}
		limit := limits.MaxStore
		if c.Storage == jetstream.MemoryStorage {
			limit = limits.MaxMemory
		}
		if limit > 0 {
			bytes = limit / p.share(c) / copies
		}
	}
	if p.most > 0 {
		bytes = min(bytes, p.most)
	}
	return max(bytes, p.floor())
}

// noRoom reports whether the broker refused a stream because of its size. A cluster
// reports this as an error of placement.
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

// Full reports whether the broker refused a message because its stream, or the account,
// has no room.
func Full(err error) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return false
	}
	// 10077 is "maximum bytes exceeded", the others are those of the account.
	return refused.ErrorCode == 10077 || noRoom(err)
}
