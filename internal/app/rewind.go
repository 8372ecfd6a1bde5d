package app

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// rewindIdle is how long [RewindFanout] waits for dispatchers that take no event.
const rewindIdle = 10 * time.Second

// Rewound is what a reset of the fan-out did.
type Rewound struct {
	// To is the sequence from which the fan-out goes on.
	To uint64
	// Since is the creation time of the first event from there on; zero: there is none.
	Since time.Time
	// Again counts the messages that had been delivered before, and come again.
	Again uint64
	// Met counts those that have come again, Already those of them that had been fanned
	// out before, of which nothing is sent.
	Met, Already uint64
}

// RewindFanout sets the fan-out's consumer to a sequence of MAIL_EVENTS. For
// sequence 0 it uses the first message since a time. Dispatchers may run
// meanwhile: they skip events that were fanned out. It waits until they have met
// the events that come again, or take none for ten seconds. It calls step with a
// description of each step.
func RewindFanout(ctx context.Context, c NATS, wait Waiting, sequence uint64, since time.Time, step func(string), log *zap.Logger) (Rewound, error) {
	if err := firstError(c.validate, wait.validate); err != nil {
		return Rewound{}, err
	}
	starting, started := wait.bound(ctx)
	defer started()
	nc, js, err := awaitBroker(starting, c, "rewind", func(ctx context.Context, js jetstream.JetStream) error {
		return stream.Ensure(ctx, js, c.streams(stream.Dispatcher))
	}, log)
	if err != nil {
		return Rewound{}, err
	}
	defer nc.Close()
	if sequence == 0 {
		if sequence, err = stream.SequenceAt(ctx, js, stream.Events, since); err != nil {
			return Rewound{}, err
		}
	}
	r := &rewind{js: js, Rewound: Rewound{To: sequence}}
	if err := r.readFirst(ctx); err != nil {
		return r.Rewound, err
	}
	if r.seen, err = nc.SubscribeSync(events.SeenFanout); err != nil {
		return r.Rewound, err
	}
	defer func() { _ = r.seen.Unsubscribe() }()
	if err := flush(ctx, nc); err != nil {
		return r.Rewound, err
	}
	before, err := stream.Rewind(ctx, js, stream.Events, stream.Fanout, sequence, step)
	if err != nil {
		return r.Rewound, err
	}
	return r.Rewound, r.meet(ctx, before, step)
}

// rewind is a reset under way.
type rewind struct {
	Rewound
	js      jetstream.JetStream
	seen    *nats.Subscription
	already uint64
}

// readFirst reads the first event that comes again.
func (r *rewind) readFirst(ctx context.Context) error {
	found, err := stream.Read(ctx, r.js, stream.Page{Stream: stream.Events, Subject: ">", From: r.To, Limit: 1})
	if err != nil || len(found) == 0 {
		return err
	}
	if e, err := stream.DecodeEvent(found[0].Subject, found[0].Header); err == nil {
		r.Since = e.CreatedAt
	}
	return nil
}

// hear counts what the dispatchers have told by now. It waits for nothing.
func (r *rewind) hear() {
	for {
		m, err := r.seen.NextMsg(time.Nanosecond)
		if err != nil {
			return // nothing more has come
		}
		var s fanout.Seen
		if json.Unmarshal(m.Data, &s) == nil && s.Last >= r.To {
			r.already += uint64(max(s.Already, 0))
		}
	}
}

// meet waits until the consumer has acknowledged the messages up to a sequence.
func (r *rewind) meet(ctx context.Context, before uint64, step func(string)) error {
	s, err := r.js.Stream(ctx, stream.Events)
	if err != nil {
		return err
	}
	first := max(r.To, s.CachedInfo().State.FirstSeq)
	if before >= first {
		r.Again = before - first + 1
		step("waiting for the dispatchers to meet the events again")
	}
	moved := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for r.Met < r.Again && time.Since(moved) < rewindIdle {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		r.hear()
		c, err := r.js.Consumer(ctx, stream.Events, stream.Fanout)
		if err != nil {
			return err
		}
		if floor := c.CachedInfo().AckFloor.Stream; floor >= first {
			if met := min(floor-first+1, r.Again); met > r.Met {
				r.Met, moved = met, time.Now()
			}
		}
	}
	// What a batch was is told before its messages are acknowledged.
	if err := flush(ctx, r.js.Conn()); err != nil {
		return err
	}
	r.hear() // after the flush, all of it is at this process
	r.Already = min(r.already, r.Met)
	return nil
}

// flush waits until the broker has taken what was sent to it.
func flush(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stream.AckTime, stream.ErrNoAck)
	defer cancel()
	return nc.FlushWithContext(ctx)
}
