package ingest

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// awayWorkers try large mails at the same time while the blob store fails. A try may take long, and needs a worker that
// small mails could use, which need no blob store.
const awayWorkers = 4

// errAway returns a large mail to the broker while the blob store fails.
var errAway = errors.New("the blob store fails, and other mails try it now")

// blobsAway remembers that the blob store fails, until it takes a mail.
type blobsAway struct {
	failing atomic.Bool
	tries   *semaphore.Weighted
}

// stores reports whether a mail of that size goes to the blob store.
func (s *receiver) stores(size int64) bool { return s.o.Blobs != nil && size > mailbox.BlobOver }

// enter begins to take a mail in, which a caller ends with leave. It fails with errAway.
func (b *blobsAway) enter(large bool) (leave func(), err error) {
	if !large || !b.failing.Load() {
		return func() {}, nil
	}
	if !b.tries.TryAcquire(1) {
		return nil, errAway
	}
	return func() { b.tries.Release(1) }, nil
}

// note learns from a mail's end.
func (b *blobsAway) note(large bool, err error) {
	switch {
	case errors.Is(err, errBlobs), errors.Is(err, errSpool):
		b.failing.Store(true)
	case large && err == nil:
		b.failing.Store(false)
	}
}
