package mailbox

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// BlobOver is the size in bytes above which a raw mail goes to the blob store, if there is
// one. Below it, a request to the store costs more than the bytes do in the database.
const BlobOver = 128 << 10

const (
	// BlobTimeout bounds writing a blob, and the time from then on to the end of its
	// transaction.
	BlobTimeout = 10 * time.Minute
	// blobLate is the age of a blob from which on no row is inserted for it. It is longer
	// than [BlobTimeout] and much shorter than [orphaned].
	blobLate = 30 * time.Minute
)

// rawPrefix begins the keys of raw mails. Then come the day and the id.
const rawPrefix = "raw/"

const dayFormat = "2006-01-02"

// Blob is a raw mail in the blob store, for which a row is to be inserted.
type Blob struct {
	id   events.ID
	size int64
	sum  []byte // SHA-256
}

// PutBlob stores a raw mail in the blob store. Insert its row with [QueueMails] soon: if
// none is there after an hour, [RemoveOrphans] removes the blob.
func PutBlob(ctx context.Context, store blobs.Store, raw *io.SectionReader) (*Blob, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(raw, 0, raw.Size())); err != nil {
		return nil, fmt.Errorf("read a raw mail: %w", err)
	}
	b := &Blob{id: events.NewID(), size: raw.Size(), sum: hash.Sum(nil)}
	if err := store.Put(ctx, b.Key(), raw); err != nil {
		return nil, err
	}
	return b, nil
}

// ID is the id of the raw mail's row.
func (b *Blob) ID() events.ID { return b.id }

// Key is the blob's key. The id begins with the time at which the blob was written.
func (b *Blob) Key() string { return blobKey(b.id) }

func blobKey(id events.ID) string {
	return rawPrefix + bornAt(id).Format(dayFormat) + "/" + hex.EncodeToString(id[:])
}

// parseBlobKey returns the id in the last part of a key. rest is what follows it: a blob
// that is still being written may have a suffix.
func parseBlobKey(key string) (id events.ID, rest string, ok bool) {
	name := key[strings.LastIndexByte(key, '/')+1:]
	if len(name) < 2*len(id) {
		return id, "", false
	}
	if _, err := hex.Decode(id[:], []byte(name[:2*len(id)])); err != nil {
		return id, "", false
	}
	return id, name[2*len(id):], true
}

// bornAt is the time in an id of [events.NewID].
func bornAt(id events.ID) time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC() //nolint:gosec // 48 bits
}

// insertBlob inserts nothing for a blob that may have been removed already. The time in
// the id and the database's clock decide that here and in [RemoveOrphans], so that no
// third clock matters. The statement's transaction has an id from then on.
const insertBlob = `
INSERT INTO fanmail.message_raws (id, created_at, blob, sha256)
SELECT $1, $2, $3, $4 WHERE clock_timestamp() < $5::timestamptz + make_interval(secs => $6)`

// ErrLateBlob means that a mail's transaction came too late for its blob.
var ErrLateBlob = errors.New("the mail was not committed within 30 minutes after it was written to the blob store; if this lasts, compare the clocks of this machine and the database's")

func (b *Blob) queue(batch *pgx.Batch, at time.Time) {
	batch.Queue(insertBlob, b.id, at, b.Key(), b.sum, bornAt(b.id), blobLate.Seconds()).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() == 0 {
			return ErrLateBlob
		}
		return nil
	})
}

// BlobOwner returns the name under which a database owns its blob store: the cluster's
// system identifier and the database's number. A standby that takes over has the same,
// and a copy restored elsewhere has another.
func BlobOwner(ctx context.Context, db pg.DB) (string, error) {
	var name string
	err := db.QueryRow(ctx, `
		SELECT 'postgres ' || (pg_control_system()).system_identifier || ' ' || oid FROM pg_catalog.pg_database WHERE datname = current_database()`).Scan(&name)
	if err != nil {
		return "", fmt.Errorf("read the database's identifier: %w", err)
	}
	return name, nil
}
