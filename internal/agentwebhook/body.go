package agentwebhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// body is a payload's JSON. The raw mail inside is read from the database while the
// body is sent.
type body struct {
	head, tail []byte // around the raw mail's base64
	first      []byte // the raw mail's first chunk
	raw        mailbox.Raw
	db         pg.DB
	// broken is set if reading the raw mail failed, which is not a failure of the
	// endpoint.
	broken atomic.Bool
}

var rawField = []byte(`"raw_message":""`)

// newBody makes the body and reads its first chunk, so that it fails before anything is
// sent if the database is away. If the mail is past its retention, the error wraps
// [mailbox.ErrGone].
func newBody(ctx context.Context, db pg.DB, p *Payload, r mailbox.Raw) (*body, error) {
	whole, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode a payload: %w", err)
	}
	// JSON escapes quotation marks in strings, so this can only be the field.
	head, tail, _ := bytes.Cut(whole, rawField)
	b := &body{
		head: append(head[:len(head):len(head)], rawField[:len(rawField)-1]...),
		tail: append([]byte{'"'}, tail...), raw: r, db: db,
	}
	if r.Size > 0 {
		if b.first, err = r.Chunk(ctx, db, 0); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// length is the Content-Length: the base64 of the raw mail included.
func (b *body) length() int64 {
	return int64(len(b.head)) + (b.raw.Size+2)/3*4 + int64(len(b.tail))
}

// reader returns a reader of the whole body.
func (b *body) reader(ctx context.Context) io.ReadCloser {
	raw := &rawReader{ctx: ctx, body: b, next: b.first}
	return io.NopCloser(io.MultiReader(bytes.NewReader(b.head), raw, bytes.NewReader(b.tail)))
}

// rawReader encodes the raw mail as base64. It belongs to one request and holds that
// request's context.
type rawReader struct {
	ctx  context.Context //nolint:containedctx // io.Reader takes no context
	body *body
	next []byte // read but not encoded yet
	sent int64  // bytes of the raw mail that were encoded
	out  []byte // encoded but not returned yet
}

func (p *rawReader) Read(to []byte) (int, error) {
	if len(p.out) == 0 {
		if p.sent >= p.body.raw.Size {
			return 0, io.EOF
		}
		if p.next == nil {
			var err error
			if p.next, err = p.body.raw.Chunk(p.ctx, p.body.db, p.sent); err != nil {
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
