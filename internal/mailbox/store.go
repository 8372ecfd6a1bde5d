package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// copyRaw takes rows in Postgres's binary format, so that a mail is sent in pieces: a parameter of a statement would be in
// memory as a whole, more than once.
const copyRaw = `COPY fanmail.message_raws (id, created_at, raw) FROM STDIN (FORMAT binary)`

// postgresEpoch is where Postgres's timestamps begin.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// StoreRaw stores a raw mail of size bytes under the id, which it reads from r in pieces of some 64 KiB. conn has the transaction open
// that stores the mail's messages too; at is the creation time of all. If r has another number of bytes, StoreRaw returns
// an error. After an error roll the transaction back.
func StoreRaw(ctx context.Context, conn *pgx.Conn, at time.Time, id events.ID, r io.Reader, size int64) (Raw, error) {
	raw := Raw{ID: id, CreatedAt: at, Size: size}
	if _, err := conn.PgConn().CopyFrom(ctx, raw.row(r), copyRaw); err != nil {
		return Raw{}, fmt.Errorf("store a raw mail: %w", err)
	}
	return raw, nil
}

// row returns the input of a COPY of one row.
func (r Raw) row(content io.Reader) io.Reader {
	head := append([]byte("PGCOPY\n\xff\r\n\x00"), 0, 0, 0, 0, 0, 0, 0, 0) // no flags, no extension
	head = binary.BigEndian.AppendUint16(head, 3)
	head = append(binary.BigEndian.AppendUint32(head, uint32(len(r.ID))), r.ID[:]...)
	head = binary.BigEndian.AppendUint32(head, 8)
	head = binary.BigEndian.AppendUint64(head, uint64(r.CreatedAt.Sub(postgresEpoch).Microseconds())) //nolint:gosec // two's complement
	head = binary.BigEndian.AppendUint32(head, uint32(r.Size))                                        //nolint:gosec // the limit of a mail is far below
	return io.MultiReader(bytes.NewReader(head), &exactly{r: content, left: r.Size}, bytes.NewReader([]byte{0xff, 0xff}))
}

var errSize = errors.New("the mail has another size than was announced")

// exactly reads left bytes, and fails if there are fewer or more.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if e.left < 0 || e.left > 0 && errors.Is(err, io.EOF) {
		return 0, errSize
	}
	return n, err
}
