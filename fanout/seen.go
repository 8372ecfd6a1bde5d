package fanout

import (
	"encoding/json"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
)

// Seen says what a batch was that held events which were fanned out before. It is
// published on [events.SeenFanout], for whoever has reset the consumer; it may be lost.
type Seen struct {
	// First and Last are the sequences of MAIL_EVENTS that the batch lies between.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Already counts the events that were fanned out before. Nothing was made of them.
	Already int `json:"already"`
}

// tell publishes what a batch was, if it held events that were fanned out before.
func tell(js jetstream.JetStream, batch []event, already int) {
	if js == nil || already <= 0 {
		return
	}
	s := Seen{Already: already}
	for i := range batch {
		if batch[i].msg == nil {
			continue
		}
		meta, err := batch[i].msg.Metadata()
		if err != nil {
			continue
		}
		if s.First == 0 {
			s.First = meta.Sequence.Stream
		}
		s.First, s.Last = min(s.First, meta.Sequence.Stream), max(s.Last, meta.Sequence.Stream)
	}
	if body, err := json.Marshal(s); err == nil {
		_ = js.Conn().Publish(events.SeenFanout, body)
	}
}
