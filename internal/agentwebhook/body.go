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

// body is a payload's JSON. The raw mail in it is read while it is sent.
type body struct {
	head, tail []byte // around the raw mail's base64
	first      []byte // the raw mail's first chunk
	raw        mailbox.Raw
	db         pg.DB
	// broken is set if the raw mail could not be read to its end, which is no
	// failure of the endpoint.
	broken atomic.Bool
}

var rawField = []byte(`"raw_message":""`)

// newBody reads the first chunk, so that a missing database is noticed before
// anything is sent. It returns an error that wraps [mailbox.ErrGone] if the mail
// is gone.
func newBody(ctx context.Context, db pg.DB, p *Payload, r mailbox.Raw) (*body, error) {
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
	if r.Size > 0 {
		if b.first, err = r.Chunk(ctx, db, 0); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *body) length() int64 {
	return int64(len(b.head)) + (b.raw.Size+2)/3*4 + int64(len(b.tail))
}

// reader reads the body from its beginning.
func (b *body) reader(ctx context.Context) io.ReadCloser {
	raw := &rawReader{ctx: ctx, body: b, next: b.first}
	return io.NopCloser(io.MultiReader(bytes.NewReader(b.head), raw, bytes.NewReader(b.tail)))
}

// rawReader reads the raw mail's base64. It lives as long as one request, whose
// context it has.
type rawReader struct {
	ctx  context.Context //nolint:containedctx // an io.Reader's only way to one
	body *body
	next []byte // read, not encoded yet
	sent int64  // bytes of the raw mail that were encoded
	out  []byte // encoded, not given yet
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
