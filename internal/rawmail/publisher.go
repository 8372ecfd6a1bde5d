package rawmail

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// ErrFull means that the broker has no room for the mail.
var ErrFull = errors.New("the broker has no room for raw mail: start an ingest with a database, or raise the limits of stream MAIL_RAW")

// publishTimeout bounds the publication of one mail.
const publishTimeout = 30 * time.Second

// headerRoom is kept free of a message's size for fields that the broker adds.
const headerRoom = 1 << 10

// Publisher publishes mails to the broker. Create one with [NewPublisher].
type Publisher struct {
	js      jetstream.JetStream
	subject string
}

// NewPublisher creates a publisher. The node names this process in the subject; see
// [CheckNode].
func NewPublisher(js jetstream.JetStream, node string) *Publisher {
	return &Publisher{js: js, subject: stream.RawPrefix + node}
}

// Publish returns nil once the broker has stored the mail on the disks of its quorum.
// It returns [ErrFull] if the broker has no room. After any other error the mail may be
// stored; another copy of it makes no second event.
func (p *Publisher) Publish(ctx context.Context, m *Mail) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg := encode(p.subject, m)
	id := strings.ToLower(rand.Text())
	msg.Header.Set(jetstream.MsgIDHeader, id) // a repetition by the client library is the same mail
	msg.Data = m.Raw
	if int64(msg.Size()+headerRoom) > p.js.Conn().MaxPayload() {
		// If the message is never published, a [Queue] removes the object later.
		msg.Data = nil
		msg.Header.Set(HeaderObject, id)
		if err := putObject(ctx, p.js, id, id, m.Raw); err != nil {
			return unpublished(err)
		}
	}
	if _, err := p.js.PublishMsg(ctx, msg); err != nil {
		return unpublished(err)
	}
	return nil
}

func unpublished(err error) error {
	if stream.Full(err) {
		return fmt.Errorf("publish a raw mail: %w: %w", ErrFull, err)
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("publish a raw mail: stream %s does not exist: start an ingest with a database, or run `fanmail streams`: %w", stream.Raw, err)
	}
	return fmt.Errorf("publish a raw mail: %w", err)
}
