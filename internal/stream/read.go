package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// pageBytes bounds the messages of one page, so that they fit the connection's buffers.
const pageBytes = 4 << 20

// Page is a request for messages of a stream. It is a direct get, for which a process needs no right to create
// consumers. Such a right would let it publish anywhere: the broker delivers to any subject that a consumer names.
type Page struct {
	Stream string
	// Subject of the messages; it may have wildcards.
	Subject string
	// From is the lowest sequence.
	From uint64
	// Since is the earliest time of storage; zero: From holds instead.
	Since time.Time
	// Limit is the most messages.
	Limit int
}

// Read returns the page's messages in the order of the stream; none where the stream has no more. Any replica may
// answer, which may not have the latest messages yet. Without an answer until ctx ends, it returns the cause.
func Read(ctx context.Context, js jetstream.JetStream, p Page) ([]*jetstream.RawStreamMsg, error) {
	start := jetstreamext.GetBatchSeq(max(p.From, 1))
	if !p.Since.IsZero() {
		start = jetstreamext.GetBatchStartTime(p.Since)
	}
	messages, err := jetstreamext.GetBatch(ctx, js, p.Stream, p.Limit, start, jetstreamext.GetBatchSubject(p.Subject), jetstreamext.GetBatchMaxBytes(pageBytes))
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", p.Stream, err)
	}
	var out []*jetstream.RawStreamMsg
	last := "0"
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", p.Stream, err)
		}
		// Core NATS may drop messages on the way. Each names the one before it.
		if before := m.Header.Get(jetstream.LastSequenceHeader); before != last {
			return nil, fmt.Errorf("read stream %s: message %d follows %s, not %s; messages were lost on the way", p.Stream, m.Sequence, last, before)
		}
		last = strconv.FormatUint(m.Sequence, 10)
		out = append(out, m)
	}
	if len(out) == 0 || ctx.Err() != nil {
		// The iterator ends without an error where nobody answers in time.
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read stream %s: %w", p.Stream, context.Cause(ctx))
		}
		return nil, fmt.Errorf("read stream %s: %w", p.Stream, ErrNoAck)
	}
	return out, nil
}
