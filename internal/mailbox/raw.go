package mailbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/setting"
)

// ChunkSize is how much of a raw mail is read at a time, in bytes. It is a
// multiple of three, so that the base64 of the chunks is that of the whole.
const ChunkSize = 3 * 64 << 10

// ErrGone says that the raw mail is past its retention.
var ErrGone = errors.New("the mail is no longer kept")

// BlobError says that a raw mail cannot be read from the blob store, although the database
// has it. It stays until an operator acts.
type BlobError struct{ Key, Why string }

// Error names the key and the reason.
func (e *BlobError) Error() string {
	return "the mail is in the blob store as " + e.Key + ", and " + e.Why
}

// The reasons of a [BlobError].
const (
	blobMissing = "that has no such blob: it was deleted there"
	blobDamaged = "that has other content than was stored (SHA-256)"
)

// ErrNoBlobs means that a raw mail is in a blob store and that this process has none.
var ErrNoBlobs error = noBlobsError{}

type noBlobsError struct{}

func (noBlobsError) Error() string {
	return setting.Named("this process has no blob store: set --blobs (FANMAIL_BLOBS) to that of ingest")
}

// readTimeout bounds one read of the blob store.
const readTimeout = 30 * time.Second

// Raw names a raw mail. Whoever has one was allowed to read its message.
type Raw struct {
	ID        [16]byte
	CreatedAt time.Time
	Size      int64 // in bytes
}

// Open reads the first chunk of the mail. store may be nil. The error wraps [ErrGone] if
// the mail is gone, [ErrNoBlobs], a [*BlobError], or the store's error.
func (r Raw) Open(ctx context.Context, db pg.DB, store blobs.Store) (*RawReader, error) {
	o := &RawReader{raw: r, db: db, store: store}
	chunk, err := o.chunk(ctx)
	if err != nil && !errors.Is(err, io.EOF) {
		o.Close()
		return nil, err
	}
	o.first = chunk
	return o, nil
}

// Whole reads the whole mail into memory. Its errors are those of [Raw.Open].
func (r Raw) Whole(ctx context.Context, db pg.DB, store blobs.Store) ([]byte, error) {
	o, err := r.Open(ctx, db, store)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	out := make([]byte, 0, r.Size)
	for {
		chunk, err := o.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, chunk...)
	}
}

// RawReader reads a raw mail from its beginning. Create one with [Raw.Open].
type RawReader struct {
	raw   Raw
	db    pg.DB
	store blobs.Store

	first []byte // read by Open and not returned yet
	at    int64  // bytes read so far

	// Of a blob; key is "" for a mail in the database.
	key    string
	sum    []byte
	hash   hash.Hash
	body   io.ReadCloser
	cancel context.CancelFunc
	buf    []byte
}

// Next returns the next chunk: [ChunkSize] bytes, or what is left. It is valid until the
// next call. At the end it returns [io.EOF]. Before the last chunk of a blob is
// returned, the content has been found to be what was stored.
func (o *RawReader) Next(ctx context.Context) ([]byte, error) {
	if o.first != nil {
		chunk := o.first
		o.first = nil
		return chunk, nil
	}
	return o.chunk(ctx)
}

// Close ends the reading.
func (o *RawReader) Close() {
	if o.body != nil {
		_ = o.body.Close()
		o.cancel()
		o.body = nil
	}
}

func (o *RawReader) chunk(ctx context.Context) ([]byte, error) {
	switch {
	case o.at >= o.raw.Size:
		return nil, io.EOF
	case o.key != "":
		return o.fromBlob(ctx)
	}
	var chunk, sum []byte
	var key *string
	// The column is stored uncompressed, so that Postgres reads no more than the chunk.
	err := o.db.QueryRow(ctx, `SELECT substring(raw FROM $3::integer FOR $4::integer), blob, sha256 FROM fanmail.message_raws WHERE id = $1 AND created_at = $2`,
		o.raw.ID, o.raw.CreatedAt, o.at+1, ChunkSize).Scan(&chunk, &key, &sum)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("read a raw mail: %w", ErrGone)
	case err != nil:
		return nil, fmt.Errorf("read a raw mail: %w", err)
	case key != nil && o.store == nil:
		return nil, fmt.Errorf("read blob %s: %w", *key, ErrNoBlobs)
	case key != nil:
		o.key, o.sum, o.hash = *key, sum, sha256.New()
		return o.fromBlob(ctx)
	case len(chunk) == 0:
		return nil, fmt.Errorf("read a raw mail: it has %d bytes of %d: %w", o.at, o.raw.Size, io.ErrUnexpectedEOF)
	}
	o.at += int64(len(chunk))
	return chunk, nil
}

// fromBlob reads the next chunk. If a connection breaks, it goes on with another one.
func (o *RawReader) fromBlob(ctx context.Context) ([]byte, error) {
	size := min(ChunkSize, o.raw.Size-o.at)
	if o.buf == nil {
		o.buf = make([]byte, size)
	}
	have := 0
	for fresh := false; have < int(size); {
		if o.body == nil {
			if err := o.open(ctx, o.at+int64(have)); err != nil {
				return nil, err
			}
			fresh = true
		}
		n, err := o.read(ctx, o.buf[have:size])
		have += n
		switch {
		case have == int(size):
		case errors.Is(err, io.EOF):
			return nil, o.damaged()
		case fresh && n == 0:
			return nil, &blobs.Error{Op: "read", Key: o.key, Kind: blobs.Unreachable, Err: err}
		default:
			o.Close()
		}
	}
	chunk := o.buf[:size]
	_, _ = o.hash.Write(chunk)
	o.at += size
	if o.at == o.raw.Size && string(o.hash.Sum(nil)) != string(o.sum) {
		return nil, o.damaged()
	}
	return chunk, nil
}

func (o *RawReader) damaged() error {
	return fmt.Errorf("read a raw mail: %w", &BlobError{o.key, blobDamaged})
}

// open requests the blob from an offset.
func (o *RawReader) open(ctx context.Context, from int64) error {
	// The stream outlives the call, and ends with the caller's context.
	streaming, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(readTimeout, cancel)
	body, err := o.store.Open(streaming, o.key, from)
	late.Stop()
	if err != nil {
		cancel()
		if blobs.KindOf(err) == blobs.Missing {
			return fmt.Errorf("read a raw mail: %w", &BlobError{o.key, blobMissing})
		}
		return err
	}
	o.body, o.cancel = body, cancel
	return nil
}

// read fills b, or returns an error, which is [io.EOF] at the end of the blob. A store
// that sends nothing for too long is cut off.
func (o *RawReader) read(ctx context.Context, b []byte) (n int, err error) {
	late := time.AfterFunc(readTimeout, o.cancel)
	defer late.Stop()
	for n < len(b) && err == nil {
		var got int
		got, err = o.body.Read(b[n:])
		n += got
		late.Reset(readTimeout)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return n, err
}
