package s3

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/minio/minio-go/v7"
)

// errEnded is what the HTTP client gets that still sends the body of a try that has ended.
var errEnded = errors.New("the try has ended")

// body is the body of one try. The HTTP client may still read it when the server has answered.
type body struct {
	mu sync.Mutex
	r  io.Reader // nil: the try has ended
}

// Read is [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errEnded
	}
	return b.r.Read(p)
}

// end returns once nobody reads the content any more.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
}

// again reports whether another try may help, by the library's own rules.
func again(err error) bool {
	answer, answered := errors.AsType[minio.ErrorResponse](err)
	if !answered { // no answer came
		return true
	}
	switch answer.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, 499, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 520:
		return true
	}
	switch answer.Code {
	case "RequestError", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled",
		"InternalError", "ExpiredToken", "ExpiredTokenException", "SlowDown", "SlowDownWrite", "SlowDownRead",
		"AuthorizationHeaderMalformed", "InvalidRegion": // the library knows the region now
		return true
	}
	return false
}
