package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// lateAfter is how old a request's signature must be for it to count as sent
// by a process that was paused between signing and sending.
const lateAfter = 4 * time.Second

// wire is a receiver that counts what is in flight: a request counts from its
// arrival until it is answered or its connection has gone.
//
// What a process had handed to the kernel, or was about to, when it was paused
// arrives when it wakes up, and no lease can call it back. Such a request is
// known by its old signature; it is counted apart.
type wire struct {
	*httptest.Server
	t testing.TB

	mu    sync.Mutex
	paths map[string]*path
	late  int
}

type path struct {
	cap      int
	delay    func(event string) time.Duration
	inFlight map[*request]bool
	most     int
	events   []string // as they arrived
}

// request is one that is in flight.
type request struct {
	event, attempt string
	signed, at     time.Time
}

func (r *request) String() string {
	return fmt.Sprintf("%s attempt %s, signed %s, arrived %s", r.event, r.attempt, r.signed.Format("05"), r.at.Format("05.000"))
}

func newWire(t testing.TB) *wire {
	t.Helper()
	w := &wire{t: t, paths: map[string]*path{}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

// expect sets a path's cap, and how long it takes over an event.
func (w *wire) expect(name string, most int, delay func(event string) time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths[name] = &path{cap: most, delay: delay, inFlight: map[*request]bool{}}
}

func (w *wire) serve(_ http.ResponseWriter, r *http.Request) {
	seconds, _ := strconv.ParseInt(r.Header.Get(signature.HeaderTimestamp), 10, 64)
	q := &request{event: r.Header.Get(signature.HeaderID), attempt: r.Header.Get("Fanmail-Attempt"), signed: time.Unix(seconds, 0), at: time.Now()}
	p := w.enter(r.URL.Path, q)
	defer w.leave(p, q)
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.arrived(p, q)
	timer := time.NewTimer(p.delay(q.event))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

func (w *wire) enter(name string, q *request) *path {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.paths[name]
	if q.at.Sub(q.signed) > lateAfter {
		w.late++
		return p
	}
	p.inFlight[q] = true
	p.most = max(p.most, len(p.inFlight))
	if len(p.inFlight) > p.cap {
		w.t.Errorf("%s: %d in flight, its cap is %d:", name, len(p.inFlight), p.cap)
		for other := range p.inFlight {
			w.t.Log(other)
		}
	}
	return p
}

func (w *wire) arrived(p *path, q *request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.events = append(p.events, q.event)
}

func (w *wire) leave(p *path, q *request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(p.inFlight, q)
}
