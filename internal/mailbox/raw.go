package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// ChunkSize is how much of a raw mail is read at a time, in bytes. It is a
// multiple of three, so that the base64 of the chunks is that of the whole.
const ChunkSize = 3 * 64 << 10

// ErrGone says that the raw mail is past its retention.
var ErrGone = errors.New("the mail is no longer kept")

// Raw names a raw mail. Whoever has one was allowed to read its message.
type Raw struct {
	ID        [16]byte
	CreatedAt time.Time
	Size      int64 // in bytes
}

// Chunk reads up to [ChunkSize] bytes from an offset. It returns an error that
// wraps [ErrGone] if the mail is gone, and [io.ErrUnexpectedEOF] if it is
// shorter than its Size. The column is stored uncompressed, so that Postgres
// reads no more than the chunk.
func (r Raw) Chunk(ctx context.Context, db pg.DB, from int64) ([]byte, error) {
	var chunk []byte
	err := db.QueryRow(ctx, `SELECT substring(raw FROM $3::integer FOR $4::integer) FROM fanmail.message_raws WHERE id = $1 AND created_at = $2`,
		r.ID, r.CreatedAt, from+1, ChunkSize).Scan(&chunk)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("read a raw mail: %w", ErrGone)
	case err != nil:
		return nil, fmt.Errorf("read a raw mail: %w", err)
	case len(chunk) == 0 && from < r.Size:
		return nil, fmt.Errorf("read a raw mail: it has %d bytes of %d: %w", from, r.Size, io.ErrUnexpectedEOF)
	}
	return chunk, nil
}

// Whole reads the whole mail into memory. Its errors are those of [Raw.Chunk].
func (r Raw) Whole(ctx context.Context, db pg.DB) ([]byte, error) {
	out := make([]byte, 0, r.Size)
	for int64(len(out)) < r.Size {
		chunk, err := r.Chunk(ctx, db, int64(len(out)))
		if err != nil {
			return nil, err
		}
		out = append(out, chunk...)
	}
	return out, nil
}
