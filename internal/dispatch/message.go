package dispatch

import (
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
)

// message is a broker message whose deliveries this process holds. It is
// acknowledged when each of them is written or released.
type message struct {
	msg  jetstream.Msg
	left atomic.Int32
}

// done says that one of the deliveries is written or released.
func (m *message) done() {
	if m != nil && m.left.Add(-1) == 0 {
		_ = m.msg.Ack()
	}
}
