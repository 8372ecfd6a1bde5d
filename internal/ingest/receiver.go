package ingest

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/internal/mailauth"
	"github.com/fanmail-dev/fanmail/internal/milter"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Time limits of one operation on the database.
const (
	lookUpTimeout = 10 * time.Second
	commitTimeout = time.Minute
)

// Bounds of the mails that are parsed at the same time, in bytes. Large mails have a
// bound of their own, so that small ones never wait for them.
const (
	largeMail  = 1 << 20
	largeBytes = 48 << 20
	smallBytes = 16 << 20
)

// Bounds of the mails that are read back from temporary files at the same time, in bytes. parsedBytes is what a large
// mail counts from the time on when it is parsed.
const (
	heldLargeBytes = 96 << 20
	heldSmallBytes = 32 << 20
	parsedBytes    = 1 << 20
)

// receiver handles the mails of all sessions.
type receiver struct {
	o       Options
	pool    *pgxpool.Pool
	nc      *nats.Conn
	waker   *outbox.Waker
	log     *zap.Logger
	m       *metrics
	usage   *usage.Counter
	checker *mailauth.Checker // nil: senders are not authenticated
	milters *milter.Chain     // nil: no milters are asked
	to      target            // where mails go
	small   *semaphore.Weighted
	large   *semaphore.Weighted

	recipients recipients
	group      group
	alone      *semaphore.Weighted // bounds the transactions of single mails

	transfers *transfers
	// held bounds the mails from temporary files that are in memory to be parsed and committed.
	heldSmall, heldLarge *semaphore.Weighted

	// work is the context of what open transactions do on the database; it
	// outlives the context of [Server.Run] by Options.Drain.
	work context.Context //nolint:containedctx // sessions have no caller to take one from
}

// target is where the mails of the sessions go: the database or the broker.
type target interface {
	// lookUp returns the recipient of an address, and the time by the clock of the
	// target. It fails with errUnknown if nobody has the address.
	lookUp(ctx context.Context, address string) (recipient, time.Time, error)
	// room returns the reply to a recipient who may get no mail now.
	room(ctx context.Context, r recipient, size int64) error
	// accept takes the mail. An error is the reply to the client.
	accept(ctx context.Context, m mail) error
}

// hold waits until a mail of that size may be in memory. The caller calls release. It may call parsed before, when only
// the event is needed, which is far smaller than a large mail. hold fails only if ctx ends.
func (s *receiver) hold(ctx context.Context, size int64) (parsed, release func(), err error) {
	lot, weight := s.heldSmall, size
	switch {
	case size < spoolAfter: // in memory already; the number of connections bounds these
		return func() {}, func() {}, nil
	case size > largeMail:
		lot, weight = s.heldLarge, min(size, heldLargeBytes)
	}
	if err := lot.Acquire(ctx, weight); err != nil {
		return nil, nil, err
	}
	parsed = func() {
		if rest := min(weight, parsedBytes); rest < weight {
			lot.Release(weight - rest)
			weight = rest
		}
	}
	return parsed, func() { lot.Release(weight) }, nil
}
