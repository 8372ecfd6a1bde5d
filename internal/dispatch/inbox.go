package dispatch

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// inboxHeartbeat is how often the broker says that a consumer without messages is there. If
	// it does not for twice as long, an inbox is in doubt.
	inboxHeartbeat = time.Second
	// echoWait is how long a message without deliveries takes to come back at most. An inbox
	// in doubt is silent from then on.
	echoWait = time.Second
)

// inbox is what is known of the messages of a partition that this process owns.
type inbox struct {
	partition int
	tenure    *tenure
	owned     int64         // the database's time when the ownership had begun
	last      atomic.Uint64 // the highest sequence of the stream that has come since the consumer began

	orphans atomic.Bool // the rows that an owner before held are released

	busy   atomic.Bool // a message is being handled
	taking sync.Mutex  // held while rows are taken from the table
	// doubted is since when it is not known whether messages come, in Unix nanoseconds; 0:
	// the last message came after the last doubt.
	doubted atomic.Int64
}

func newInbox(partition int, t *tenure, owned int64) *inbox {
	in := &inbox{partition: partition, tenure: t, owned: owned}
	in.doubt()
	return in
}

// redelivered says that some of the message's deliveries may be finished, so
// that each must prove that its row is still under the message's lease. The
// broker's count of deliveries is lost with its nodes, so this process remembers
// how far the stream has come. Messages that are older than our ownership count as
// redelivered too; see [scheduler.Scheduler.Suspect].
func (b *inbox) redelivered(m jetstream.Msg) bool {
	meta, err := m.Metadata()
	if err != nil || meta.NumDelivered > 1 {
		return true
	}
	if meta.Sequence.Stream <= b.last.Load() {
		return true
	}
	b.last.Store(meta.Sequence.Stream)
	return false
}

// doubt notes that messages may not come.
func (b *inbox) doubt() { b.doubted.CompareAndSwap(0, time.Now().UnixNano()) }

// hear notes that a message came.
func (b *inbox) hear() { b.doubted.Store(0) }

// silent says that messages demonstrably don't come.
func (b *inbox) silent() bool {
	since := b.doubted.Load()
	return since != 0 && !b.busy.Load() && time.Since(time.Unix(0, since)) > echoWait
}
