package stream

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrAnswer means that a message is the broker's answer to a request for a stored message.
var ErrAnswer = errors.New("the message is an answer of the broker to a direct get, which its sender was not allowed to publish here")

// NoAnswer returns [ErrAnswer] for the header of an answer to a direct get. The broker sends an answer to any subject
// that the request names, past the user's permissions. It sets these fields itself, so the sender can't omit them.
func NoAnswer(h nats.Header) error {
	for _, name := range []string{jetstream.StreamHeader, jetstream.SubjectHeader, jetstream.SequenceHeader} {
		if _, has := h[name]; has {
			return ErrAnswer
		}
	}
	return nil
}
