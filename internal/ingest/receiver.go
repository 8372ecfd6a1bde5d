package ingest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/internal/mailauth"
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

// receiver handles the mails of all sessions.
type receiver struct {
	o        Options
	pool     *pgxpool.Pool
	nc       *nats.Conn
	log      *zap.Logger
	m        *metrics
	checker  *mailauth.Checker // nil: senders are not authenticated
	buffered atomic.Int64      // bytes of the mails in memory
	small    *semaphore.Weighted
	large    *semaphore.Weighted

	// work is the context of what open transactions do on the database; it
	// outlives the context of [Server.Run] by Options.Drain.
	work context.Context //nolint:containedctx // sessions have no caller to take one from
}
