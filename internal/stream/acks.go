package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/setting"
)

// AckTime is how long a publisher waits for each acknowledgement. A broker without a
// leader does not answer.
const AckTime = 5 * time.Second

// ErrNoAck says that the broker gave no acknowledgement within [AckTime].
// The broker may still have stored the message.
var ErrNoAck = errors.New("the broker gave no acknowledgement within 5 s")

// ErrAway says that there is no connection to the broker, so that nothing was sent.
var ErrAway = errors.New("the broker is away")

// ForeignError says that another stream stored a message of one of Fanmail's streams.
type ForeignError struct {
	Stream  string // Fanmail's
	Foreign string
}

// Error names the other stream and the remedy.
func (e *ForeignError) Error() string {
	return fmt.Sprintf(setting.Named("stream %[2]s, which is not Fanmail's, took a message that was meant for stream %[1]s: "+
		"take Fanmail's subjects out of it with `nats stream edit %[2]s`, or point FANMAIL_NATS_URL at another account"), e.Stream, e.Foreign)
}

// DomainPrefix returns the API prefix of a JetStream domain. The empty domain has the
// empty prefix.
func DomainPrefix(domain string) string {
	if domain == "" {
		return ""
	}
	return "$JS." + domain + ".API"
}

// Open returns JetStream on a connection, with its API at prefix; empty: the account's
// own API. A publication without an acknowledgement fails after twice [AckTime].
// Otherwise it would take one of the client's few thousand places for ever.
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

// Acknowledged waits until the stream has acknowledged every message; a duplicate counts
// as acknowledged. It returns the first error of [Acknowledgements].
func Acknowledged(ctx context.Context, name string, futures []jetstream.PubAckFuture) error {
	for _, err := range Acknowledgements(ctx, name, futures) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Acknowledgements waits for the messages' acknowledgements. It returns one error for
// each message, in order; nil: acknowledged. An error is the broker's refusal, a
// [*ForeignError], [ErrNoAck] or ctx's cause. After one of the last two it does not wait
// for the other messages.
func Acknowledgements(ctx context.Context, name string, futures []jetstream.PubAckFuture) []error {
	errs := make([]error, len(futures))
	timer := time.NewTimer(AckTime)
	defer timer.Stop()
	var stopped error
	for i, f := range futures {
		timer.Reset(AckTime)
		if stopped != nil {
			errs[i] = stopped
			continue
		}
		select {
		case ack := <-f.Ok():
			if ack.Stream != name {
				errs[i] = &ForeignError{Stream: name, Foreign: ack.Stream}
			}
		case errs[i] = <-f.Err():
		case <-timer.C:
			stopped = ErrNoAck
			errs[i] = stopped
		case <-ctx.Done():
			stopped = context.Cause(ctx)
			errs[i] = stopped
		}
	}
	return errs
}

// Refused reports whether an error of [Acknowledgements] proves that the stream did not
// store the message.
func Refused(err error) bool {
	var refused *jetstream.APIError
	var foreign *ForeignError
	return errors.As(err, &refused) || errors.As(err, &foreign) || errors.Is(err, jetstream.ErrNoStreamResponse)
}
