package api

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

const (
	// tailPause is the time from a hint to the read. A busy tail reads that often.
	tailPause = 20 * time.Millisecond
	// tailPoll is how often an idle tail reads without a hint.
	tailPoll = 2 * time.Second
	// tailPage is the most messages of one read.
	tailPage = 100
	// tailTimeout bounds an answer of the broker.
	tailTimeout = 5 * time.Second
)

type tailInput struct {
	Types  []eventPattern `query:"types,explode" maxItems:"32" doc:"Only events of these types."`
	Agents []storedText   `query:"agent_id,explode" maxItems:"50" doc:"Only events of these agents."`
	Since  instant        `query:"since" doc:"Start with the events of this time. Defaults to now."`
	LastID string         `header:"Last-Event-ID" maxLength:"20" pattern:"^[0-9]+$" doc:"Start after the event with this id of the stream."`
}

// tailFeed reads a tenant's events from the stream by direct gets. A core subscription gives the hints when to read:
// the broker may send an event to subscribers before the stream has it, so the feed also polls.
type tailFeed struct {
	js      jetstream.JetStream
	log     *zap.Logger
	subject string
	types   []events.Type // and patterns; empty: all
	agents  []string      // empty: all
	hints   *nats.Subscription
	woken   chan struct{}
	// from is the next sequence; with since, the feed has read nothing yet and begins at that time.
	from    uint64
	since   time.Time
	failing bool
}

// tailFeed starts a feed of the tenant's events only.
func (s *server) tailFeed(ctx context.Context, in *tailInput) (*tailFeed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tailTimeout, fmt.Errorf("the broker did not answer within %s", tailTimeout))
	defer cancel()
	types := eventPatterns(in.Types)
	f := &tailFeed{js: s.js, log: s.log, types: types, subject: events.EventSubjects(tenant(ctx), types), since: in.Since.Time, woken: make(chan struct{}, 1)}
	for _, a := range in.Agents {
		f.agents = append(f.agents, mailbox.Fold(string(a)))
	}
	var err error
	f.hints, err = s.js.Conn().Subscribe(f.subject, func(*nats.Msg) {
		select {
		case f.woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", f.subject, err)
	}
	// The subscription comes first: what is published after the stream's state was read gives a hint.
	st, err := s.js.Stream(ctx, stream.Events)
	if err != nil {
		f.close()
		return nil, err
	}
	f.from = st.CachedInfo().State.LastSeq + 1
	// A stream that was created again begins at 1: its ids are other ones.
	if last, err := strconv.ParseUint(in.LastID, 10, 64); err == nil && last < f.from {
		f.from, f.since = last+1, time.Time{}
	}
	return f, nil
}

func (f *tailFeed) close() { _ = f.hints.Unsubscribe() }

// next reads the next messages, and reports whether there may be more. A broker that fails is asked again later.
func (f *tailFeed) next(ctx context.Context) (found []*jetstream.RawStreamMsg, more bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, tailTimeout, stream.ErrNoAck)
	defer cancel()
	found, err := stream.Read(ctx, f.js, stream.Page{Stream: stream.Events, Subject: f.subject, From: f.from, Since: f.since, Limit: tailPage})
	if err != nil && !f.failing && ctx.Err() == nil {
		f.log.Warn("a tail cannot read events; it tries again", zap.Error(err))
	}
	f.failing = err != nil
	if n := len(found); n > 0 {
		f.from, f.since = found[n-1].Sequence+1, time.Time{}
	}
	return found, len(found) == tailPage
}

// verify begins anew where the stream was lost and created again, which counts from 1.
func (f *tailFeed) verify(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, tailTimeout, stream.ErrNoAck)
	defer cancel()
	st, err := f.js.Stream(ctx, stream.Events)
	if err == nil && st.CachedInfo().State.LastSeq+1 < f.from {
		f.from = 1
	}
}

// encode encodes a message as a server-sent event; nil if the tail does not want it. An envelope is compact JSON and so
// is one line.
func (f *tailFeed) encode(m *jetstream.RawStreamMsg) []byte {
	if len(f.agents) > 0 {
		if of, err := url.PathUnescape(m.Header.Get(stream.HeaderAgent)); err != nil || !slices.Contains(f.agents, of) {
			return nil
		}
	}
	// mail.events.<tenant>.<type>
	_, typ, _ := strings.Cut(strings.TrimPrefix(m.Subject, events.EventsPrefix), ".")
	if len(f.types) > 0 && !slices.ContainsFunc(f.types, func(t events.Type) bool { return t.Selects(events.Type(typ)) }) {
		return nil
	}
	return fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", m.Sequence, typ, m.Data)
}
