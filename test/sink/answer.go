package sink

import (
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Call is what a [Script] decides by.
type Call struct {
	Path string
	// N counts the requests of this path from 1.
	N int
	// EventID is the header webhook-id, DeliveryID Fanmail-Delivery-Id; "" if absent.
	EventID, DeliveryID string
	// Attempt is the header Fanmail-Attempt; 0 if absent.
	Attempt int
}

// Script chooses the answer to a request. It may be called from many goroutines.
type Script func(Call) Answer

// Answer is what the sink does with a request. The zero value is an empty 200 at once.
type Answer struct {
	// Status of the answer; zero means 200.
	Status int
	// Header is added to the answer.
	Header http.Header
	// Body of the answer.
	Body []byte
	// Delay before the answer.
	Delay time.Duration
	// Until delays the answer, after Delay, until it is closed. The wait ends, and the connection is
	// closed, if the client disconnects or the sink closes.
	Until <-chan struct{}
	// Reset closes the connection with a TCP reset instead of an answer.
	Reset bool
	// Garbage answers with bytes that are not HTTP, and closes the connection.
	Garbage bool
	// Endless sends a body until the client disconnects or the sink closes.
	Endless bool
	// Ends delays the end of the answer until it is closed; the header and Body are sent before. The
	// wait ends, and the connection is closed, if the client disconnects or the sink closes.
	Ends <-chan struct{}
}

// Always gives the same answer every time.
func Always(a Answer) Script { return func(Call) Answer { return a } }

// Status answers with a status code and nothing else.
func Status(code int) Script { return Always(Answer{Status: code}) }

// RetryAfter answers with a status code and a Retry-After header in seconds.
func RetryAfter(code, seconds int) Script {
	return Always(Answer{Status: code, Header: http.Header{"Retry-After": {strconv.Itoa(seconds)}}})
}

// Redirect answers with a 3xx that points at location.
func Redirect(code int, location string) Script {
	return Always(Answer{Status: code, Header: http.Header{"Location": {location}}})
}

// Hang delays every answer until release is closed.
func Hang(release <-chan struct{}) Script { return Always(Answer{Until: release}) }

// FailFirst gives the failing answer to the first n requests of a path, and an
// empty 200 to the others.
func FailFirst(n int, failing Answer) Script {
	return func(c Call) Answer {
		if c.N <= n {
			return failing
		}
		return Answer{}
	}
}

// FailAttempts gives the failing answer to the first n attempts of every
// delivery, and an empty 200 to the others.
func FailAttempts(n int, failing Answer) Script {
	return func(c Call) Answer {
		if c.Attempt <= n {
			return failing
		}
		return Answer{}
	}
}

func (s *Sink) answer(w http.ResponseWriter, r *http.Request, a Answer) {
	if a.Delay > 0 {
		timer := time.NewTimer(a.Delay)
		defer timer.Stop()
		if !hold(s, r, timer.C) {
			panic(http.ErrAbortHandler)
		}
	}
	if a.Until != nil && !hold(s, r, a.Until) {
		panic(http.ErrAbortHandler)
	}
	if a.Reset || a.Garbage {
		s.hijack(w, a.Reset)
		return
	}
	maps.Copy(w.Header(), a.Header)
	status := a.Status
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	if len(a.Body) > 0 {
		_, _ = w.Write(a.Body)
	}
	if a.Ends != nil && (http.NewResponseController(w).Flush() != nil || !hold(s, r, a.Ends)) {
		panic(http.ErrAbortHandler)
	}
	for chunk := make([]byte, 32<<10); a.Endless; {
		if _, err := w.Write(chunk); err != nil {
			return
		}
		select {
		case <-s.closing:
			return
		default:
		}
	}
}

// hold waits for c. It reports whether c came before the client or the sink closed the connection.
func hold[T any](s *Sink, r *http.Request, c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-r.Context().Done():
	case <-s.closing:
	}
	return false
}

func (s *Sink) hijack(w http.ResponseWriter, reset bool) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the client has disconnected
	}
	defer func() { _ = conn.Close() }()
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
		return
	}
	_, _ = io.WriteString(conn, "\x00\xffnot HTTP at all\r\n\r\n")
}
