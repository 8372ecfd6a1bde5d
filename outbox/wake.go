package outbox

import (
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Publisher sends a message over core NATS. [*nats.Conn] is one.
//
// [*nats.Conn]: https://pkg.go.dev/github.com/nats-io/nats.go#Conn
type Publisher interface {
	Publish(subject string, data []byte) error
}

// Wake tells the publisher that the outbox has rows. Call it after the commit.
// If the hint is lost, the publisher's polling finds the rows some 40 ms later.
// A nil connection is allowed and sends nothing. A program that inserts often uses a
// [Waker].
func Wake(nc Publisher) {
	if nc != nil {
		_ = nc.Publish(events.WakeOutbox, nil)
	}
}

// wakeEvery is the least time between two hints of a [Waker], and wakeRarely that after
// a hint for several events. The relay's rounds begin no more often, so no event waits
// longer because of them.
const (
	wakeEvery  = 4 * time.Millisecond
	wakeRarely = 2 * wakeEvery
)

// Waker sends the hints of one program. Where many events are inserted, a hint for each
// would cost the broker as much as the event's message; a Waker sends one in 4 to 8 ms
// at most. Make one with [NewWaker]. It is safe for concurrent use.
// A nil Waker sends nothing.
type Waker struct {
	nc Publisher

	mu   sync.Mutex
	next time.Time // when the next hint may be sent
	owed int       // the calls for which a timer sends it
}

// NewWaker returns a Waker. A nil connection is allowed and sends nothing.
func NewWaker(nc Publisher) *Waker { return &Waker{nc: nc} }

// Wake is [Wake], but after another hint it sends its own at the end of that time,
// once for all calls until then. It does not block.
func (w *Waker) Wake() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	wait := w.next.Sub(now)
	switch {
	case w.owed > 0:
		w.owed++
	case wait > 0:
		w.owed = 1
		time.AfterFunc(wait, w.pay)
	default:
		w.send(now.Add(wakeEvery))
	}
}

// pay sends the hint that is owed.
func (w *Waker) pay() {
	w.mu.Lock()
	defer w.mu.Unlock()
	pause := wakeEvery
	if w.owed > 1 {
		pause = wakeRarely
	}
	w.owed = 0
	w.send(time.Now().Add(pause))
}

// send sends a hint, and notes when the next may be sent.
func (w *Waker) send(next time.Time) {
	w.next = next
	Wake(w.nc)
}
