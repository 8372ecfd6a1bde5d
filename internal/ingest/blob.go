package ingest

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

// putTimeout bounds writing a raw mail to the blob store.
const putTimeout = 2 * time.Minute

var errLate = errors.New("the transaction of a mail in the blob store took too long")

// putBlob writes a large raw mail to the blob store, before the transaction with its row:
// a row that has committed then always has its blob. If the transaction fails, or every
// agent has the mail already, the blob is removed later: a transaction whose connection
// was lost may have committed. A mail that has its blob keeps it. answer is the reply to
// the client.
func (s *receiver) putBlob(ctx context.Context, m *mail) (answer error) {
	if s.o.Blobs == nil || m.size <= mailbox.BlobOver || m.blob != nil {
		return nil
	}
	put, cancel := context.WithTimeoutCause(ctx, putTimeout, errors.New("the blob store took over 2 minutes"))
	defer cancel()
	var err error
	if m.blob, err = mailbox.PutBlob(put, s.o.Blobs, m.content()); err == nil {
		m.blobEnd = time.Now().Add(mailbox.BlobTimeout)
		return nil
	}
	s.m.refuse(refusedBlobs)
	s.log.Warn("cannot write a mail to the blob store", zap.Error(err), zap.Int64("bytes", m.size), telemetry.ID(ctx))
	if blobs.KindOf(err) == blobs.Full {
		return errSpool
	}
	return errBlobs
}
