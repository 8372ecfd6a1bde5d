package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Use is how much of its bounds a stream uses.
type Use struct {
	Stream   string
	Messages uint64
	Bytes    uint64
	// MaxBytes is the stream's bound; 0: none.
	MaxBytes int64
	Replicas int
	// Oldest is when its oldest message was stored; zero if it is empty.
	Oldest time.Time
	// Waiting counts the messages of MAIL_EVENTS that the fan-out's consumer has not delivered yet; 0 for the others.
	Waiting uint64
	// Err is why the stream could not be looked up; nil otherwise.
	Err error
}

// Usage asks the broker for all of Fanmail's streams, at once. Without an answer until ctx ends, the streams
// have its error.
func Usage(ctx context.Context, js jetstream.JetStream) []Use {
	names := Everything.streams()
	out := make([]Use, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { out[i] = usage(ctx, js, name) })
	}
	all.Wait()
	return out
}

func usage(ctx context.Context, js jetstream.JetStream, name string) Use {
	u := Use{Stream: name}
	s, err := js.Stream(ctx, name)
	if err != nil {
		u.Err = fmt.Errorf("look up stream %s: %w", name, err)
		return u
	}
	info := s.CachedInfo()
	u.Messages, u.Bytes, u.MaxBytes, u.Replicas = info.State.Msgs, info.State.Bytes, max(info.Config.MaxBytes, 0), info.Config.Replicas
	if u.Messages > 0 {
		u.Oldest = info.State.FirstTime.UTC()
	}
	if name == Events {
		if c, err := s.Consumer(ctx, Fanout); err == nil {
			u.Waiting = c.CachedInfo().NumPending
		}
	}
	return u
}
