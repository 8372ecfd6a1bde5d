package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// RoomEvery is the time between two looks of a process that has nothing to publish.
	RoomEvery = 5 * time.Second
	// leastRoom is the space below which an account or a stream counts as full, in bytes: a
	// small event must fit.
	leastRoom = 16 << 10
	// accountAgain is how long the account is not asked for after no answer: a user may lack the
	// right.
	accountAgain = time.Minute
)

// Room looks whether a stream can take a message, without sending one. It is not safe for
// concurrent use.
type Room struct {
	JS     jetstream.JetStream
	Stream string

	silent time.Time // when the account was last not answered for
}

// Look returns nil if the stream can take a message of need bytes, [ErrNoAck] without an
// answer, and an error that wraps a [*jetstream.APIError] if the stream is missing or has no
// room, or if the account has none. The limits of a single server and a store that can't be
// written do not show: only a message meets them.
func (r *Room) Look(ctx context.Context, need int) error {
	ask, cancel := context.WithTimeoutCause(ctx, AckTime, ErrNoAck)
	defer cancel()
	s, err := r.JS.Stream(ask, r.Stream)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = context.Cause(ask)
		}
		return fmt.Errorf("look up stream %s: %w", r.Stream, err)
	}
	room := uint64(max(need, leastRoom))
	info := s.CachedInfo()
	if err := streamFull(info, room); err != nil {
		return err
	}
	return r.account(ctx, &info.Config, room)
}

// streamFull returns an error for a stream that refuses what does not fit, if room bytes
// do not.
func streamFull(info *jetstream.StreamInfo, room uint64) error {
	c, state := &info.Config, &info.State
	if c.Discard != jetstream.DiscardNew {
		return nil
	}
	bytes := c.MaxBytes > 0 && state.Bytes+room > uint64(c.MaxBytes)
	if !bytes && (c.MaxMsgs <= 0 || state.Msgs < uint64(c.MaxMsgs)) {
		return nil
	}
	used, most, unit := state.Msgs, c.MaxMsgs, "messages"
	if bytes {
		used, most, unit = state.Bytes, c.MaxBytes, "bytes"
	}
	return fmt.Errorf("stream %s has %d %s of at most %d: %w", c.Name, used, unit, most,
		&jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "maximum bytes or messages exceeded"})
}

// account returns an error if the account has not so many bytes left for the stream.
func (r *Room) account(ctx context.Context, c *jetstream.StreamConfig, room uint64) error {
	if time.Since(r.silent) < accountAgain {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, accountTimeout)
	defer cancel()
	account, err := r.JS.AccountInfo(ctx)
	if err != nil {
		var refused *jetstream.APIError
		if errors.As(err, &refused) {
			return fmt.Errorf("read the account's limits: %w", err)
		}
		r.silent = time.Now()
		return nil
	}
	tier := account.Tier
	if t, ok := account.Tiers["R"+strconv.Itoa(c.Replicas)]; ok {
		tier = t
	}
	used, most := tier.Store, tier.Limits.MaxStore
	if c.Storage == jetstream.MemoryStorage {
		used, most = tier.Memory, tier.Limits.MaxMemory
	}
	if most < 0 || used+room <= uint64(most) {
		return nil
	}
	return fmt.Errorf("the account has %d bytes of at most %d: %w", used, most,
		&jetstream.APIError{Code: 400, ErrorCode: 10002, Description: "resource limits exceeded for account"})
}

// Shows reports whether [Room.Look] shows that the cause of a failed publication has ended.
func (r *Room) Shows(err error) bool {
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, ErrNoAck), errors.Is(err, ErrAway), errors.Is(err, jetstream.ErrNoStreamResponse):
		return true
	case !errors.As(err, &refused):
		return false
	}
	switch refused.ErrorCode {
	case 10002, 10008, 10009, 10039, 10059, 10076: // the account, a leader, JetStream, the stream
		return true
	case 10077: // also of a store that fails
		return strings.Contains(refused.Description, "maximum")
	}
	return false
}
