package api

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// bodyTimeout is how long a client may take to send a request's body, from the
// end of the headers on.
const bodyTimeout = 5 * time.Second

// boundedBody is a request's body with a read deadline.
type boundedBody struct {
	io.ReadCloser
	control *http.ResponseController
	ended   bool // it was read to its end
}

// bound sets the read deadline of a request with a body. The end of the body
// clears it: net/http then reads from the connection to notice that the client
// closes it, and takes an expired deadline for that.
func bound(w http.ResponseWriter, body io.ReadCloser) *boundedBody {
	b := &boundedBody{ReadCloser: body, control: http.NewResponseController(w)}
	_ = b.control.SetReadDeadline(time.Now().Add(bodyTimeout))
	return b
}

// Read reads the body.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && !b.ended {
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// abandon ends the reading of the body when the request is answered. net/http
// would else read and discard the rest before it closes the connection.
func (b *boundedBody) abandon() {
	if !b.ended {
		_ = b.control.SetReadDeadline(time.Now())
	}
}

// whole reads the body of an operation that has one. Package huma would answer a body that ends early or is framed
// badly with a 500.
func (s *server) whole(ctx huma.Context, next func(huma.Context)) {
	if ctx.Operation().RequestBody == nil {
		if err := s.discard(ctx); err != nil {
			s.refuse(ctx, err)
			return
		}
		next(ctx)
		return
	}
	// The handler rejects a body of this size.
	sent, err := io.ReadAll(io.LimitReader(ctx.BodyReader(), s.maxBody))
	if err != nil {
		s.refuse(ctx, unreadable(err))
		return
	}
	if p, ok := ctx.Context().Value(entryKey{}).(*pending); ok {
		p.body = sent
	}
	r, w := humago.Unwrap(ctx)
	request := r.WithContext(ctx.Context())
	request.Body = io.NopCloser(bytes.NewReader(sent))
	next(humago.NewContext(ctx.Operation(), request, w))
}

// discard reads the body of a request for an operation that has none. Package net/http notices only
// after the end of a body that the client has gone: a poll would wait on, and lease deliveries to nobody.
func (s *server) discard(ctx huma.Context) error {
	r, _ := humago.Unwrap(ctx)
	if r.Body == nil {
		return nil
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, s.maxBody+1))
	switch {
	case err != nil:
		return unreadable(err)
	case n > s.maxBody:
		return problem(http.StatusRequestEntityTooLarge, "this operation ignores the request's body, which may have at most %d bytes", s.maxBody)
	}
	return nil
}

// unreadable is the response to a body that can't be read.
func unreadable(err error) error {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return problem(http.StatusRequestTimeout, "the request's body could not be read within %.0f s", bodyTimeout.Seconds())
	}
	// The limits are those of package net/http.
	return problem(http.StatusBadRequest, "the request's body can't be read: it ends early, or its chunks are malformed; "+
		"the limits are 4096 bytes for the line before a chunk, and 16384 bytes for all chunk extensions beyond 16 bytes a chunk and twice the data")
}
