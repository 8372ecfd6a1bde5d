package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Verified is the state of one stream on the broker.
type Verified struct {
	Stream string
	// Err is a [*MismatchError], one that wraps [ErrMissing] or
	// [ErrOutdated], or nil.
	Err      error
	Messages uint64
	Bytes    uint64
	Replicas int
	// ServerTime is the server's time of the answer; zero without an answer.
	ServerTime time.Time
}

// Differences that [Ensure] would remove.
var (
	// ErrMissing says that a stream or a shared consumer does not exist.
	ErrMissing = errors.New("is missing")
	// ErrOutdated says that a setting differs from those of this build and process.
	ErrOutdated = errors.New("has other settings; a starting process updates them")
)

// Verify compares the broker's streams and shared consumers with those of [Ensure], and
// changes nothing. It returns an error if the broker does not answer.
func Verify(ctx context.Context, js jetstream.JetStream, o Options) ([]Verified, error) {
	shared := map[string]string{Events: Fanout, Intake: IntakeConsumer, ownPrefix: IntakeConsumer, Raw: RawConsumer}
	var out []Verified
	for _, want := range Configs(o) {
		v := Verified{Stream: want.Name}
		s, err := js.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			v.Err = fmt.Errorf("stream %s %w", want.Name, ErrMissing)
			out = append(out, v)
			continue
		case err != nil:
			return nil, fmt.Errorf("look up stream %s: %w", want.Name, err)
		}
		info := s.CachedInfo()
		v.Messages, v.Bytes, v.Replicas, v.ServerTime = info.State.Msgs, info.State.Bytes, info.Config.Replicas, info.TimeStamp
		v.Err = dangerous(info.Config, want)
		merged := merge(info.Config, want, o)
		if v.Err == nil && (unbounded(&merged) || !same(info.Config, merged)) {
			v.Err = fmt.Errorf("stream %s %w", want.Name, ErrOutdated)
		}
		if name := shared[kind(want.Name)]; v.Err == nil && name != "" {
			_, err := s.Consumer(ctx, name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				v.Err = fmt.Errorf("consumer %s of stream %s %w", name, want.Name, ErrMissing)
			} else if err != nil {
				return nil, fmt.Errorf("look up consumer %s: %w", name, err)
			}
		}
		out = append(out, v)
	}
	return out, nil
}
