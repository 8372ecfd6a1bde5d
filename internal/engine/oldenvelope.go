package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/e2aenvelope"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

const (
	// maxOldRaw is the largest raw mail that an older envelope holds; it leaves out a larger one.
	maxOldRaw = 10 << 20
	// oldMemory bounds the raw mails in memory for older envelopes. Each is there three times: as it is, in base64, and
	// in the envelope.
	oldMemory = 4 * 4 * maxOldRaw
)

// oldEnvelopes returns the function that makes older envelopes; see the dispatcher's options. store may be nil. A mail
// that is past its retention is left out.
func oldEnvelopes(pool *pgxpool.Pool, store blobs.Store) func(context.Context, events.TenantID, []byte) ([]byte, func(), error) {
	memory := semaphore.NewWeighted(oldMemory)
	return func(ctx context.Context, tenant events.TenantID, envelope []byte) ([]byte, func(), error) {
		id, at, ok := e2aenvelope.Message(envelope)
		if !ok {
			return encodeOld(envelope, nil, func() {})
		}
		found := make(map[events.MessageID]mailbox.Message, 1)
		b := &pgx.Batch{}
		mailbox.QueueFind(b, []events.MessageID{id}, []time.Time{at}, found)
		if err := pool.SendBatch(ctx, b).Close(); err != nil {
			return nil, nil, fmt.Errorf("read a message: %w", err)
		}
		m := found[id]
		if m.TenantID != tenant || m.Raw.Size > maxOldRaw {
			return encodeOld(envelope, nil, func() {})
		}
		weight := 4 * m.Raw.Size
		if err := memory.Acquire(ctx, weight); err != nil {
			return nil, nil, fmt.Errorf("wait for memory: %w", err)
		}
		release := func() { memory.Release(weight) }
		raw, err := m.Raw.Whole(ctx, pool, store)
		if errors.Is(err, mailbox.ErrGone) {
			raw, err = nil, nil
		}
		if err != nil {
			release()
			if _, stays := errors.AsType[*mailbox.BlobError](err); stays {
				err = fmt.Errorf("%w: %w", dispatch.ErrLost, err)
			}
			return nil, nil, err
		}
		return encodeOld(envelope, raw, release)
	}
}

// encodeOld returns the older form. A failure is the event's, and stays.
func encodeOld(envelope, raw []byte, release func()) ([]byte, func(), error) {
	old, err := e2aenvelope.Encode(envelope, raw)
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("%w: %w", dispatch.ErrLost, err)
	}
	return old, release, nil
}
