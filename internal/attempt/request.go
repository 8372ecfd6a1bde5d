package attempt

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
)

// Request is one POST of a JSON body, or one message to a broker.
type Request struct {
	// URL is read, never changed, so callers may share it.
	URL *url.URL
	// Header is complete but for Content-Type and User-Agent, which the poster
	// adds. The poster owns it from then on.
	Header http.Header
	// Body returns a new reader of the whole body. The transport asks for a
	// second one where an idle connection was closed before it took a byte. The
	// context is the attempt's.
	Body func(ctx context.Context) io.ReadCloser
	// Length of the body, in bytes.
	Length int64
	// Endpoint is what the webhook's own settings add; nil: nothing.
	Endpoint *Endpoint
	// LeaseValid reports whether the sender still holds the delivery. It is
	// asked right before the header is sent; nil: yes.
	LeaseValid func() bool
}

// Bytes is a request's body that is in memory. The reader has a type that
// net/http knows, or it would send the header in a packet of its own.
func Bytes(body []byte) func(context.Context) io.ReadCloser {
	return func(context.Context) io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
}
