package agentwebhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// rawChunk is how much of a raw mail is in memory at a time; a multiple of
// three, so that the pieces' base64 is that of the whole.
const rawChunk = 3 * 64 << 10

// errGone says that the raw mail is no longer kept.
var errGone = errors.New("the mail is no longer kept")

// raw names a raw mail.
type raw struct {
	id        [16]byte
	createdAt time.Time
	size      int64
}

// part reads a piece. The column is stored uncompressed, so that this reads no
// more than it gives.
func (r raw) part(ctx context.Context, db DB, from int64) ([]byte, error) {
	var chunk []byte
	err := db.QueryRow(ctx, `SELECT substring(raw FROM $3::integer FOR $4::integer) FROM fanmail.message_raws WHERE id = $1 AND created_at = $2`,
		r.id, r.createdAt, from+1, rawChunk).Scan(&chunk)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("read a raw mail: %w", err)
	}
	return chunk, nil
}

// body is a payload's JSON, the raw mail read while it is sent.
type body struct {
	head, tail []byte // around the raw mail's base64
	first      []byte // the raw mail's first piece
	raw        raw
	db         DB
	// broken is set where the raw mail could not be read to its end: that is
	// no failure of the endpoint's.
	broken atomic.Bool
}

var rawField = []byte(`"raw_message":""`)

// newBody reads the first piece, so that a database that is away is found out
// before anything is sent.
func newBody(ctx context.Context, db DB, p *Payload, r raw) (*body, error) {
	whole, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode a payload: %w", err)
	}
	// Quotation marks inside of strings are escaped, so this is the field.
	head, tail, _ := bytes.Cut(whole, rawField)
	b := &body{
		head: append(head[:len(head):len(head)], rawField[:len(rawField)-1]...),
		tail: append([]byte{'"'}, tail...), raw: r, db: db,
	}
	if r.size > 0 {
		if b.first, err = r.part(ctx, db, 0); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *body) length() int64 {
	return int64(len(b.head)) + (b.raw.size+2)/3*4 + int64(len(b.tail))
}

// reader reads the body from its beginning.
func (b *body) reader(ctx context.Context) io.ReadCloser {
	pieces := &pieces{ctx: ctx, body: b, next: b.first}
	return io.NopCloser(io.MultiReader(bytes.NewReader(b.head), pieces, bytes.NewReader(b.tail)))
}

// pieces reads the raw mail's base64. It lives as long as one request, whose
// context it has.
type pieces struct {
	ctx  context.Context //nolint:containedctx // an io.Reader's only way to one
	body *body
	next []byte // read, not encoded yet
	sent int64  // bytes of the raw mail that were encoded
	out  []byte // encoded, not given yet
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.out) == 0 {
		if p.sent >= p.body.raw.size {
			return 0, io.EOF
		}
		if p.next == nil {
			var err error
			if p.next, err = p.body.raw.part(p.ctx, p.body.db, p.sent); err == nil && len(p.next) == 0 {
				err = fmt.Errorf("read a raw mail: it has %d bytes of %d: %w", p.sent, p.body.raw.size, io.ErrUnexpectedEOF)
			}
			if err != nil {
				p.body.broken.Store(p.ctx.Err() == nil)
				return 0, err
			}
		}
		p.out = base64.StdEncoding.AppendEncode(p.out[:0], p.next)
		p.sent += int64(len(p.next))
		p.next = nil
	}
	n := copy(to, p.out)
	p.out = p.out[n:]
	return n, nil
}
