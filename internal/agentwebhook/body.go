package agentwebhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// body is a payload's JSON. The raw mail inside is read from the database, or from the blob
// store, while the body is sent.
type body struct {
	head, tail []byte // around the raw mail's base64
	raw        mailbox.Raw
	db         pg.DB
	store      blobs.Store // nil: none
	// opened is the raw mail, until a reader takes it.
	opened atomic.Pointer[mailbox.RawReader]
	// broken is set if reading the raw mail failed, which is not a failure of the
	// endpoint.
	broken atomic.Bool
}

var rawField = []byte(`"raw_message":""`)

// newBody makes the body and opens the raw mail, so that it fails before anything is
// sent if the database or the blob store is away. The errors are those of
// [mailbox.Raw.Open]. Call [body.close] in the end.
func newBody(ctx context.Context, db pg.DB, store blobs.Store, p *Payload, r mailbox.Raw) (*body, error) {
	whole, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode a payload: %w", err)
	}
	opened, err := r.Open(ctx, db, store)
	if err != nil {
		return nil, err
	}
	// JSON escapes quotation marks in strings, so this can only be the field.
	head, tail, _ := bytes.Cut(whole, rawField)
	b := &body{
		head: append(head[:len(head):len(head)], rawField[:len(rawField)-1]...),
		tail: append([]byte{'"'}, tail...), raw: r, db: db, store: store,
	}
	b.opened.Store(opened)
	return b, nil
}

// close ends the reading of a raw mail that no reader took.
func (b *body) close() {
	if opened := b.opened.Swap(nil); opened != nil {
		opened.Close()
	}
}

// length is the Content-Length: the base64 of the raw mail included.
func (b *body) length() int64 {
	return int64(len(b.head)) + (b.raw.Size+2)/3*4 + int64(len(b.tail))
}

// reader returns a reader of the whole body.
func (b *body) reader(ctx context.Context) io.ReadCloser {
	raw := &rawReader{ctx: ctx, body: b, opened: b.opened.Swap(nil)}
	return &bodyReader{Reader: io.MultiReader(bytes.NewReader(b.head), raw, bytes.NewReader(b.tail)), raw: raw}
}

// bodyReader reads the body and closes the raw mail in it.
type bodyReader struct {
	io.Reader
	raw *rawReader
}

// Close waits for a Read that has not returned yet.
func (r *bodyReader) Close() error {
	r.raw.close()
	return nil
}

// rawReader encodes the raw mail as base64. It belongs to one request and holds that
// request's context.
type rawReader struct {
	ctx  context.Context //nolint:containedctx // io.Reader takes no context
	body *body
	out  []byte // encoded but not returned yet

	mu     sync.Mutex
	opened *mailbox.RawReader // nil: not opened yet, or closed
	closed bool
}

func (p *rawReader) Read(to []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.out) == 0 {
		chunk, err := p.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.body.broken.Store(p.ctx.Err() == nil && !p.closed)
			}
			return 0, err
		}
		p.out = base64.StdEncoding.AppendEncode(p.out[:0], chunk)
	}
	n := copy(to, p.out)
	p.out = p.out[n:]
	return n, nil
}

// next returns the next chunk of the raw mail.
func (p *rawReader) next() ([]byte, error) {
	if p.closed {
		return nil, errClosed
	}
	if p.opened == nil {
		var err error
		if p.opened, err = p.body.raw.Open(p.ctx, p.body.db, p.body.store); err != nil {
			return nil, err
		}
	}
	return p.opened.Next(p.ctx)
}

func (p *rawReader) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.opened != nil {
		p.opened.Close()
	}
}

var errClosed = errors.New("the request's body is closed")
