package relay

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// looker tells how the broker stands while there is nothing to publish. Otherwise only a
// message would show that it takes none, or that it takes some again.
type looker struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	streams stream.Options
	log     *zap.Logger
	broker  *stream.Health
	// largest is the size of the largest event that the broker has refused since it last took
	// some, in bytes.
	largest atomic.Int64
}

// run looks until ctx ends.
func (l *looker) run(ctx context.Context) {
	room := &stream.Room{JS: l.js, Stream: stream.Events}
	// doubted is the time of the last success before a look last ended a silence.
	doubted := time.Unix(0, 1)
	tick := time.NewTicker(stream.RoomEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !l.nc.IsConnected() {
			continue // the connection's own state tells
		}
		before := l.broker.Publishing(stream.Events)
		if time.Since(before.LastSuccess) < stream.RoomEvery {
			continue
		}
		err := room.Look(ctx, int(l.largest.Load()))
		switch {
		case ctx.Err() != nil:
			return
		case !l.broker.Publishing(stream.Events).LastSuccess.Equal(before.LastSuccess): // it took an event meanwhile
		case err != nil:
			if err = stream.Mend(ctx, l.js, l.streams, err); l.broker.Set(err) {
				l.log.Warn("the broker would take no event", zap.Error(err))
			}
		case before.Err == nil || !room.Shows(before.Err):
		case errors.Is(before.Err, stream.ErrNoAck) && before.LastSuccess.Equal(doubted):
			// It answers, and acknowledges no event: its disk may be full. Only an event shows the end of that.
		case l.broker.Clear(before.Last):
			if errors.Is(before.Err, stream.ErrNoAck) {
				doubted = before.LastSuccess
			}
			l.log.Info("the broker answers again")
		}
	}
}
