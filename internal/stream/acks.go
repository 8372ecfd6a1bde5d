package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// AckTime is how long a publisher waits from one acknowledgement to the next:
// a broker that has lost its leader never answers what it was asked just then.
const AckTime = 5 * time.Second

// ErrNoAck says that the broker gave no acknowledgement within [AckTime].
// Whether it has the message is not known.
var ErrNoAck = errors.New("the broker gave no acknowledgement within 5 s")

// ErrAway says that there is no connection to the broker. Nothing was sent.
var ErrAway = errors.New("the broker is away")

// ForeignError says that another stream took messages that were meant for ours.
type ForeignError struct {
	Stream  string // ours
	Foreign string
}

// Error names the other stream and what to do.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("stream %[2]s, which is not Fanmail's, took a message that was meant for stream %[1]s: "+
		"take Fanmail's subjects out of it with `nats stream edit %[2]s`, or point FANMAIL_NATS_URL at another account", e.Stream, e.Foreign)
}

// DomainPrefix returns the prefix of the API of a JetStream domain; "" for "".
func DomainPrefix(domain string) string {
	if domain == "" {
		return ""
	}
	return "$JS." + domain + ".API"
}

// Open gives JetStream on a connection, with its API at prefix; "" is the
// account's own. A publication that is never acknowledged
// ends after twice [AckTime]; otherwise it would count as under way for ever, and
// the client allows a few thousand of these.
func Open(nc *nats.Conn, prefix string) (jetstream.JetStream, error) {
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
	}
	js, err := jetstream.NewWithAPIPrefix(nc, prefix, jetstream.WithPublishAsyncTimeout(2*AckTime))
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return js, nil
}

// Acknowledged waits until the stream has all of the messages, duplicates
// included. It returns the first error of [Acknowledgements].
func Acknowledged(ctx context.Context, name string, futures []jetstream.PubAckFuture) error {
	for _, err := range Acknowledgements(ctx, name, futures) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Acknowledgements waits for the messages' acknowledgements, and returns an error
// for each message that the stream is not known to have: the broker's refusal, a
// [*ForeignError], [ErrNoAck] or ctx's cause. After one of the last two it waits
// for no further message.
func Acknowledgements(ctx context.Context, name string, futures []jetstream.PubAckFuture) []error {
	errs := make([]error, len(futures))
	timer := time.NewTimer(AckTime)
	defer timer.Stop()
	var over error
	for i, f := range futures {
		timer.Reset(AckTime)
		if over != nil {
			errs[i] = over
			continue
		}
		select {
		case ack := <-f.Ok():
			if ack.Stream != name {
				errs[i] = &ForeignError{Stream: name, Foreign: ack.Stream}
			}
		case errs[i] = <-f.Err():
		case <-timer.C:
			over = ErrNoAck
			errs[i] = over
		case <-ctx.Done():
			over = context.Cause(ctx)
			errs[i] = over
		}
	}
	return errs
}

// Refused reports whether an error of [Acknowledgements] says for certain that
// the stream does not have the message.
func Refused(err error) bool {
	var refused *jetstream.APIError
	var foreign *ForeignError
	return errors.As(err, &refused) || errors.As(err, &foreign) || errors.Is(err, jetstream.ErrNoStreamResponse)
}
