package outbox

import "github.com/fanmail-dev/fanmail/events"

// Publisher sends a message over core NATS. [*nats.Conn] is one.
//
// [*nats.Conn]: https://pkg.go.dev/github.com/nats-io/nats.go#Conn
type Publisher interface {
	Publish(subject string, data []byte) error
}

// Wake tells the publisher that the outbox has rows. Call it after the commit.
// If the hint is lost, the publisher's polling finds the rows some 40 ms later.
// A nil connection is allowed and sends nothing.
func Wake(nc Publisher) {
	if nc != nil {
		_ = nc.Publish(events.WakeOutbox, nil)
	}
}
