package api

import (
	"errors"
	"io"
	"net/http"
	"time"
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
