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

// lateAfter: a request with an older signature was sent by a process that was paused between signing
// and sending.
const lateAfter = 4 * time.Second

// wire is a receiver that counts requests in flight, from their arrival until they are answered or
// their connection is closed.
//
// A process that was paused just before or after it handed a request to the kernel sends it when it
// wakes up, and no lease can prevent that. Such a request has an old signature; it is counted apart.
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
	events   []string // in order of arrival
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

// expect sets a path's limit, and how long it takes for an event.
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
