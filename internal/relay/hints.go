package relay

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// From hintsEnd events a second on, the relay works without hints, and below hintsBegin
	// it asks for them again. A round at its own pace then finds more than one event, so a
	// hint says nothing. Each hint costs the broker and the relay as much as an event's
	// message.
	hintsEnd, hintsBegin = 250, 150
)

// hints are the producers' hints that the outbox has rows, as long as they are wanted.
type hints struct {
	nc   *nats.Conn
	wake chan struct{} // receives when a hint came
	sub  *nats.Subscription
}

func newHints(nc *nats.Conn) (*hints, error) {
	h := &hints{nc: nc, wake: make(chan struct{}, 1)}
	return h, h.begin()
}

// begin asks the broker for hints.
func (h *hints) begin() (err error) {
	h.sub, err = h.nc.Subscribe(events.WakeOutbox, func(*nats.Msg) {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", events.WakeOutbox, err)
	}
	return nil
}

// end gives them up.
func (h *hints) end() {
	if h.sub != nil {
		_ = h.sub.Unsubscribe()
		h.sub = nil
	}
}

// wanted reports whether hints are wanted at a rate of arrival, in events a second.
func (h *hints) wanted(rate float64) bool {
	if h.sub != nil {
		return rate < hintsEnd
	}
	return rate < hintsBegin
}

// follow asks for hints or gives them up, and returns whether they come. After a closed
// connection none come.
func (h *hints) follow(rate float64) bool {
	switch wanted := h.wanted(rate); {
	case wanted && h.sub == nil:
		return h.begin() == nil
	case !wanted:
		h.end()
	}
	return h.sub != nil
}
